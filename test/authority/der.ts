/**
 * DER by hand (X.690): written, to make certification requests that no library would make, and read, to see what a
 * library really wrote.
 */

/** One element: its tag, its content, and all of its bytes. */
export interface Element {
  readonly tag: number;
  readonly content: Buffer;
  readonly bytes: Buffer;
}

/** Tag, length and content. */
export function der(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  const size = content.length;
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Uint8Array.of(tag, ...length), content]);
}

export const sequence = (...contents: readonly Uint8Array[]): Buffer => der(0x30, ...contents);
export const integer = (value: number): Buffer => der(0x02, Uint8Array.of(value));
export const bitString = (content: Uint8Array): Buffer => der(0x03, Uint8Array.of(0), content);

/** Object identifiers, as they are encoded. */
export const oids = {
  commonName: Buffer.from("0603550403", "hex"),
  ecdsaWithSha256: Buffer.from("06082a8648ce3d040302", "hex"),
  extensionRequest: Buffer.from("06092a864886f70d01090e", "hex"),
  ecPublicKey: Buffer.from("06072a8648ce3d0201", "hex"),
  p256: Buffer.from("06082a8648ce3d030107", "hex"),
  data: Buffer.from("06092a864886f70d010701", "hex"),
  signedData: Buffer.from("06092a864886f70d010702", "hex"),
} as const;

/** A distinguished name that is one common name, as UTF8String or as another string type. */
export function commonName(text: string, stringTag = 0x0c): Buffer {
  return sequence(der(0x31, sequence(oids.commonName, der(stringTag, Buffer.from(text)))));
}

/** The elements that stand one after another in these bytes. */
export function readElements(bytes: Uint8Array): Element[] {
  const found: Element[] = [];
  for (let rest = Buffer.from(bytes); rest.length > 0;) {
    const long = rest[1]! < 0x80 ? 0 : rest[1]! & 0x7f;
    const start = 2 + long;
    const end = start + (long === 0 ? rest[1]! : rest.readUIntBE(2, long));
    if (end > rest.length) throw new RangeError("truncated");
    found.push({ tag: rest[0]!, content: rest.subarray(start, end), bytes: rest.subarray(0, end) });
    rest = rest.subarray(end);
  }
  return found;
}
