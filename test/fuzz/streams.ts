/**
 * What a client that behaves would send, and what becomes of it: flipped bits, packets cut, doubled, spliced, in another
 * order, and lengths that lie.
 */
import {
  connectFrame,
  header,
  number,
  packet,
  pingFrame,
  publishFrame,
  repeat,
  subscribeFrame,
  unsubscribeFrame,
} from "../attacks/engine/frames.ts";
import type { Random } from "./random.ts";

/** Where a fuzzed client may publish and subscribe. */
export const ground = "fuzz";

/** Packets of a client, as it would send them after CONNECT. Most of what they ask for is allowed. */
export function makeStream(random: Random): Buffer[] {
  const count = 1 + random.below(12);
  return Array.from({ length: count }, () => random.pick(makers)(random));
}

/** A CONNECT of any kind that nobody lets in: for what is tried before one is accepted. */
export function makeConnect(random: Random): Buffer {
  const will = { topic: `${ground}/will`, payload: random.bytes(random.below(40)), qos: random.below(3) };
  return connectFrame({
    clientId: random.pick(["", "acme.m0", "acme.m1:x", "é", "x".repeat(200)]),
    clean: random.oneIn(2),
    keepalive: random.pick([0, 1, 60, 65_535]),
    ...(random.oneIn(2) && { username: "any", password: random.bytes(random.below(300)) }),
    ...(random.oneIn(3) && { will }),
    ...(random.oneIn(6) && { protocol: "MQIsdp", level: 3 }),
    ...(random.oneIn(6) && { level: 5 }),
  });
}

const makers: ((random: Random) => Buffer)[] = [
  (random) => publishFrame(topicOf(random), { payload: random.bytes(random.below(60)) }),
  (random) => publishFrame(topicOf(random), { qos: 1, id: idOf(random), payload: random.bytes(random.below(60)) }),
  (random) => publishFrame(topicOf(random), { qos: 2, id: idOf(random), dup: random.oneIn(2) }),
  (random) => publishFrame(topicOf(random), { retain: true, payload: random.bytes(random.below(4)) }),
  (random) => publishFrame("authz-info", { qos: 1, id: idOf(random), payload: random.bytes(random.below(200)) }),
  (random) => subscribeFrame(filtersOf(random), random.below(3), idOf(random)),
  (random) => unsubscribeFrame(filtersOf(random), idOf(random)),
  (random) => repeat(1 + random.below(5), () => packet(random.pick([0x40, 0x50, 0x62, 0x70]), number(idOf(random)))),
  () => pingFrame,
  () => packet(0xe0),
];

const idOf = (random: Random): number => (random.oneIn(4) ? 1 + random.below(65_535) : 1 + random.below(4));

function topicOf(random: Random): string {
  if (random.oneIn(40)) return random.pick(["secret/0", "$SYS/x/new/clients", "authz-info"]);
  return `${ground}/${random.pick(["a", "b", "a/b", "é", "x".repeat(100), "/", "a/".repeat(20)])}`;
}

function filtersOf(random: Random): string[] {
  const refused = ["#", "+/#", "secret/#", "secret/1", "+/+", "$SYS/#"];
  const tails = ["a", "+", "#", "a/+", "+/b", "a/#", "é", "+/+/+"];
  return Array.from({ length: 1 + random.below(4) }, () => {
    const filter = random.oneIn(8) ? random.pick(refused) : `${ground}/${random.pick(tails)}`;
    return random.oneIn(4) ? `$share/g/${filter}` : filter;
  });
}

/** A few of the ways to spoil packets, one after the other; none at all now and then. */
export function mutate(frames: readonly Buffer[], random: Random): Buffer[] {
  let mutated: Buffer[] = frames.map((frame) => Buffer.from(frame));
  for (let i = random.below(4); i > 0; i--) mutated = random.pick(mutations)(mutated, random);
  return mutated;
}

type Mutation = (frames: Buffer[], random: Random) => Buffer[];

const mutations: Mutation[] = [
  // bits of one packet, most of them near its beginning
  (frames, random) =>
    change(frames, random, (frame) => {
      for (let i = 1 + random.below(8); i > 0 && frame.length > 0; i--) {
        const at = random.below(random.oneIn(2) ? Math.min(frame.length, 12) : frame.length);
        frame[at]! ^= 1 << random.below(8);
      }
      return frame;
    }),
  (frames, random) => change(frames, random, (frame) => frame.subarray(0, random.below(frame.length + 1))),
  (frames, random) => change(frames, random, (frame) => frame.subarray(random.below(frame.length + 1))),
  (frames, random) => change(frames, random, (frame) => Buffer.concat([frame, frame])),
  (frames, random) => change(frames, random, (frame) => Buffer.concat([frame, random.bytes(1 + random.below(20))])),
  // the head of one packet before the rest of another
  (frames, random) => {
    const [one, other] = [random.pick(frames), random.pick(frames)];
    const spliced = [one.subarray(0, random.below(one.length + 1)), other.subarray(random.below(other.length + 1))];
    return [...frames, Buffer.concat(spliced)];
  },
  // a remaining length that is not
  (frames, random) =>
    change(frames, random, (frame) => {
      const lie = random.pick([0, 1, 2, 127, 128, 16_383, 16_384, 2_097_151, 268_435_455, random.below(300)]);
      return Buffer.concat([header(frame[0] ?? 0, lie), frame.subarray(2)]);
    }),
  // a length within the packet that is not
  (frames, random) =>
    change(frames, random, (frame) => {
      if (frame.length >= 4) frame.writeUInt16BE(random.pick([0, 1, 255, 65_535]), 2 + random.below(frame.length - 3));
      return frame;
    }),
  (frames, random) => shuffle(frames, random),
  (frames, random) => frames.toSpliced(random.below(frames.length), 1, random.bytes(random.below(40))),
];

/** Applies a change to one of the packets, a copy of it. */
function change(frames: Buffer[], random: Random, make: (frame: Buffer) => Buffer): Buffer[] {
  const at = random.below(frames.length);
  return frames.map((frame, index) => (index === at ? make(Buffer.from(frame)) : frame));
}

function shuffle(frames: Buffer[], random: Random): Buffer[] {
  const shuffled = [...frames];
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!];
  }
  return shuffled;
}

/** The bytes in pieces, cut anywhere. */
export function cut(bytes: Buffer, random: Random): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = random.oneIn(3) ? bytes.length : 1 + random.below(bytes.length);
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return pieces;
}
