/**
 * Which of two media types a caller wants: the Accept header (RFC 9110, section 12.5.1).
 */

/**
 * Whether the caller wants `special` rather than `usual`: it names that very type, and weighs it no less. A wildcard does not
 * name it, since who sends one has the usual answer in mind.
 */
export function isWanted(header: string | undefined, special: string, usual: string): boolean {
  // nearly nobody names it
  if (header === undefined || !header.toLowerCase().includes(special)) return false;
  const ranges = split(header, ",").map(readRange);
  const wish = ranges.find(({ type }) => type === special)?.weight ?? 0;
  if (wish === 0) return false;
  // the most precise range that matches counts
  const names = [usual, `${usual.split("/", 1)[0]}/*`, "*/*"];
  const other = names.map((name) => ranges.find(({ type }) => type === name)).find((range) => range !== undefined);
  return wish >= (other?.weight ?? 0);
}

interface Range {
  readonly type: string;
  /** 0 to 1; 0 is a no, and so is a weight that cannot be read. */
  readonly weight: number;
}

function readRange(text: string): Range {
  const [type = "", ...parameters] = split(text, ";").map((part) => part.trim().toLowerCase());
  const weight = parameters.find((parameter) => /^q\s*=/.test(parameter));
  if (weight === undefined) return { type, weight: 1 };
  const number = /^q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.exec(weight);
  return { type, weight: Number(number?.[1] ?? 0) };
}

/** Splits at a separator that does not stand in a quoted string. */
function split(text: string, separator: string): string[] {
  const parts: string[] = [];
  let start = 0;
  let isQuoted = false;
  for (let at = 0; at < text.length; at++) {
    if (isQuoted && text[at] === "\\") at++;
    else if (text[at] === '"') isQuoted = !isQuoted;
    else if (text[at] === separator && !isQuoted) {
      parts.push(text.slice(start, at));
      start = at + 1;
    }
  }
  return [...parts, text.slice(start)];
}
