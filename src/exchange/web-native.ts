/** The runtime's own web classes, kept before anything replaces them, and how ours stand in for them. */

export const NativeResponse: typeof Response = globalThis.Response;
export const NativeRequest: typeof Request = globalThis.Request;
export const nativeFetch: typeof fetch = globalThis.fetch;

/**
 * Makes `instanceof` hold for `lazy`'s instances, and hands every member of the native class that `lazy` lacks (they
 * differ by runtime: Bun's `Headers.toJSON`, Node's inspection) to a native object that `convert` makes.
 */
export function delegateRest<T extends object>(
  lazy: { prototype: T },
  native: { prototype: object },
  convert: (self: T) => object,
): void {
  const { prototype } = lazy;
  Object.setPrototypeOf(prototype, native.prototype);
  for (const key of Reflect.ownKeys(native.prototype)) {
    const own = Object.getOwnPropertyDescriptor(prototype, key);
    const theirs = Object.getOwnPropertyDescriptor(native.prototype, key);
    if (!theirs) continue;
    if (key === "constructor") {
      Object.defineProperty(prototype, key, { ...theirs, value: native });
    } else if (own) {
      // Members of web classes are enumerable, those of class syntax are not.
      Object.defineProperty(prototype, key, { ...own, enumerable: theirs.enumerable ?? false });
    } else if (theirs.get) {
      Object.defineProperty(prototype, key, {
        configurable: true,
        enumerable: theirs.enumerable ?? false,
        get(this: T): unknown {
          return Reflect.get(convert(this), key);
        },
      });
    } else if (typeof theirs.value === "function") {
      Object.defineProperty(prototype, key, {
        configurable: true,
        writable: true,
        enumerable: theirs.enumerable ?? false,
        value(this: T, ...args: unknown[]): unknown {
          const target = convert(this);
          return (Reflect.get(target, key) as (...args: unknown[]) => unknown).apply(target, args);
        },
      });
    }
  }
}
