/**
 * One case for the frame reader: whatever it is given it refuses in the one way there is, and what it accepts the parser
 * of MQTT packets behind it reads as exactly one packet of the same size.
 */
import mqttPacket from "mqtt-packet";
import { checkFrame, kinds, readFrameHead } from "../../broker/mqtt/frame.ts";
import { Refusal } from "../../shared/refusal.ts";
import { caseSeed, seeded } from "./random.ts";
import { makeConnect, makeStream, mutate } from "./streams.ts";

const limits = { filtersPerPacket: 1000 };

/** Throws when the reader and the parser do not agree. Answers how many frames were accepted. */
export function tryFrames(seed: number, index: number): number {
  const random = seeded(caseSeed(seed, index));
  const bytes = Buffer.concat(mutate([makeConnect(random), ...makeStream(random)], random));
  let accepted = 0;
  try {
    for (let at = 0; at < bytes.length;) {
      const head = readFrameHead(bytes, at);
      assertSameFromParts(bytes, at);
      if (head === undefined) return accepted;
      const end = at + head.headBytes + head.length;
      if (end > bytes.length) return accepted;
      const frame = bytes.subarray(at, end);
      checkFrame(frame, head, limits);
      // of a CONNECT of another level nothing is said here
      if (head.kind !== kinds.connect || isOurs(frame, head.headBytes)) assertOnePacket(frame);
      accepted++;
      at = end;
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw new Error(`case ${index}: ${bytes.toString("hex")}`, { cause: error });
  }
  return accepted;
}

/** What is said of a head does not change with what comes behind it, and is not said too early. */
function assertSameFromParts(bytes: Buffer, at: number): void {
  const whole = readFrameHead(bytes, at);
  for (let end = at; end < Math.min(bytes.length, at + 5); end++) {
    const part = readFrameHead(bytes.subarray(0, end), at);
    if (part !== undefined && JSON.stringify(part) !== JSON.stringify(whole)) {
      throw new Error(`a head that changes: ${bytes.subarray(at, at + 5).toString("hex")}`);
    }
  }
}

/** Whether an accepted CONNECT is of a level whose packets we read. */
function isOurs(frame: Buffer, at: number): boolean {
  const nameLength = frame.readUInt16BE(at);
  return [3, 4].includes(frame[at + 2 + nameLength]! & 127);
}

function assertOnePacket(frame: Buffer): void {
  const parser = mqttPacket.parser({ protocolVersion: 4 });
  let packets = 0;
  parser.on("packet", () => packets++);
  parser.on("error", (error) => {
    throw new Error(`accepted, and the parser says: ${error.message}: ${frame.toString("hex")}`);
  });
  const left = parser.parse(frame);
  if (packets !== 1 || left !== 0) {
    throw new Error(`accepted, and the parser finds ${packets} packets and ${left} bytes: ${frame.toString("hex")}`);
  }
}
