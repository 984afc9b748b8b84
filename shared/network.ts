/**
 * Where a connection comes from, as far as one peer can choose it: an IPv4 address, or the first 64 bits of an IPv6 address,
 * below which whoever has one address has them all (RFC 4291, section 2.5.1).
 */

/** An address as it is written down: an IPv4 address that a socket for both kinds has made longer is one again. */
export function plainAddress(address: string): string {
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
}

/** The network under which an address is counted. Anything that is no IPv6 address is counted as it is. */
export function networkOf(given: string): string {
  const address = plainAddress(given);
  const plain = address.split("%", 1)[0]!;
  if (!plain.includes(":") || !URL.canParse(`http://[${plain}]`)) return address;
  const [head = "", tail] = plain.split("::", 2);
  const groups = groupsOf(head);
  if (tail !== undefined) {
    const behind = groupsOf(tail);
    while (groups.length + behind.length < 8) groups.push(0);
    groups.push(...behind);
  }
  return `${groups
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(":")}::/64`;
}

/** The groups of 16 bits; what ends in dots and decimals fills two, which are never among the first four. */
function groupsOf(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => (group.includes(".") ? [0, 0] : [Number.parseInt(group, 16)]));
}
