/** The version of this program; a test holds it to package.json, which a compiled executable does not carry. */
export const version: string = "0.1.0";
