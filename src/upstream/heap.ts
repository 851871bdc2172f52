/** A binary heap of the numbers below n, each with a key that may change: the least is O(1), a change O(log n). */
export class IndexedHeap {
  private readonly heap: Int32Array;
  /** Where in `heap` an item is; -1 where it is not. */
  private readonly places: Int32Array;
  private readonly keys: Float64Array;
  /** Decides between equal keys. */
  private readonly turns: Float64Array;
  private size = 0;

  constructor(n: number) {
    this.heap = new Int32Array(n);
    this.places = new Int32Array(n).fill(-1);
    this.keys = new Float64Array(n);
    this.turns = new Float64Array(n);
  }

  /** The item with the least key, of equal ones the one with the least turn; -1 where there is none. */
  get top(): number {
    return this.size === 0 ? -1 : this.heap[0]!;
  }

  has(item: number): boolean {
    return this.places[item]! >= 0;
  }

  key(item: number): number {
    return this.keys[item]!;
  }

  turn(item: number): number {
    return this.turns[item]!;
  }

  /** Adds it or changes its key. */
  set(item: number, key: number, turn: number): void {
    this.keys[item] = key;
    this.turns[item] = turn;
    let place = this.places[item]!;
    if (place < 0) {
      place = this.size++;
      this.put(item, place);
    }
    this.down(this.up(place));
  }

  remove(item: number): void {
    const place = this.places[item]!;
    if (place < 0) return;
    this.places[item] = -1;
    const last = this.heap[--this.size]!;
    if (last === item) return;
    this.put(last, place);
    this.down(this.up(place));
  }

  private put(item: number, place: number): void {
    this.heap[place] = item;
    this.places[item] = place;
  }

  private before(a: number, b: number): boolean {
    const { keys, turns } = this;
    return keys[a]! < keys[b]! || (keys[a] === keys[b] && turns[a]! < turns[b]!);
  }

  private up(place: number): number {
    const item = this.heap[place]!;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      const above = this.heap[parent]!;
      if (!this.before(item, above)) break;
      this.put(above, place);
      place = parent;
    }
    this.put(item, place);
    return place;
  }

  private down(place: number): void {
    const item = this.heap[place]!;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && this.before(this.heap[child + 1]!, this.heap[child]!)) child++;
      const below = this.heap[child]!;
      if (!this.before(below, item)) break;
      this.put(below, place);
      place = child;
    }
    this.put(item, place);
  }
}
