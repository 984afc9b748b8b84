/**
 * The MQTT packets of docs/protocol.md, taken apart field by field.
 */
import mqttPacket from "mqtt-packet";
import type { IConnectPacket, Packet } from "mqtt-packet";
import type { Connection, NewsPacket } from "../../broker/gate/connection.ts";
import { refusalNews, tell, type SessionNews } from "../../broker/gate/news.ts";
import { Session } from "../../broker/gate/session.ts";
import { Refusal } from "../../shared/refusal.ts";
import { AUTHZ_INFO } from "../../shared/topic.ts";
import { dump, type Stretch } from "./hexdump.ts";
import { clientId, cwt, grants, now } from "./protocol-example.ts";

export function connectDump(wish: Partial<IConnectPacket>): string {
  const packet = { cmd: "connect", protocolId: "MQTT", protocolVersion: 4, clean: true, keepalive: 60, clientId };
  const bytes = mqttPacket.generate({ ...packet, ...wish } as Packet);
  const { stretches, at } = explainFixed(bytes, "CONNECT");
  const text = explainFields(bytes, at, [
    ["protocol name", "text"],
    ["protocol level 4: MQTT 3.1.1", 1],
    ["flags: clean session", 1],
    ["keep alive, seconds", 2],
    ["client id", "text"],
    ...(wish.username === undefined ? [] : [["user name", "text"] as const]),
    ...(wish.password === undefined ? [] : [["password", "bytes"] as const]),
  ]);
  const flags = [
    "flags: clean session",
    ...(wish.username === undefined ? [] : ["user name"]),
    ...(wish.password === undefined ? [] : ["password"]),
  ].join(", ");
  return dump([...stretches, ...text.map((one) => (one.says.startsWith("flags") ? { ...one, says: flags } : one))]);
}

export function authzInfoDump(): string {
  const bytes = mqttPacket.generate({
    cmd: "publish",
    topic: AUTHZ_INFO,
    payload: Buffer.from(cwt),
    qos: 1,
    retain: false,
    dup: false,
    messageId: 1,
  });
  const { stretches, at } = explainFixed(bytes, "PUBLISH, QoS 1");
  const fields = explainFields(bytes, at, [
    ["topic", "text"],
    ["packet identifier", 2],
  ]);
  const end = bytes.length - cwt.length;
  const puback = mqttPacket.generate({ cmd: "puback", messageId: 1 });
  return dump([
    ...stretches,
    ...fields,
    { bytes: bytes.subarray(end), says: "the token" },
    { bytes: puback, says: "PUBACK: it was taken" },
  ]);
}

export function newsOf(): readonly SessionNews[] {
  const refusal = Object.assign(new Refusal("token.subject"), { id: "AAECAwQFBgcI" });
  return [
    { event: "expiring", exp: now + 3600 },
    { event: "renewed", exp: now + 7200 },
    { event: "changed", removed: ["home/all/#"] },
    refusalNews(refusal),
  ];
}

/** The packet of the first event, as the gate hands it to a connection that has subscribed. */
export function newsPacketDump(): string {
  let sent: NewsPacket | undefined;
  const connection = {
    closed: false,
    connackSent: true,
    subscriptions: { "$postern/session": {} },
    publish: (packet: NewsPacket) => (sent = packet),
  } as unknown as Connection;
  const admission = { kind: "token", clientId, subject: clientId, address: "", grants, expiresAt: now + 3600 } as const;
  tell(new Session(connection, admission), newsOf()[0]!);
  const { topic, payload, qos, retain, dup, cmd } = sent!;
  const bytes = mqttPacket.generate({ cmd, topic, payload, qos, retain, dup });
  const { stretches, at } = explainFixed(bytes, "PUBLISH, QoS 0");
  const fields = explainFields(bytes, at, [["topic", "text"]]);
  return dump([
    ...stretches,
    ...fields,
    { bytes: bytes.subarray(bytes.length - payload.length), says: payload.toString() },
  ]);
}

export function connacks(): string {
  const lines: Stretch[] = [
    [0, "connected"],
    [4, "the credential is not accepted"],
    [5, "not authorized"],
  ].map(([returnCode, says]) => ({
    bytes: mqttPacket.generate({ cmd: "connack", returnCode: returnCode as number, sessionPresent: false }),
    says: String(says),
  }));
  return dump(lines);
}

export function subacks(): string {
  const bytes = mqttPacket.generate({ cmd: "suback", messageId: 1, granted: [1, 128] });
  return dump([{ bytes, says: "the first filter is granted at QoS 1, the second is refused" }]);
}

/** The fixed header of a control packet (MQTT 3.1.1, section 2.2). */
function explainFixed(bytes: Uint8Array, says: string): { readonly stretches: Stretch[]; readonly at: number } {
  let at = 1;
  while (bytes[at++]! >= 0x80);
  const remaining = bytes.length - at;
  return {
    stretches: [
      { bytes: bytes.subarray(0, 1), says },
      { bytes: bytes.subarray(1, at), says: `remaining length ${remaining}` },
    ],
    at,
  };
}

type Field = readonly [says: string, size: number | "text" | "bytes"];

function explainFields(bytes: Uint8Array, start: number, fields: readonly Field[]): Stretch[] {
  let at = start;
  return fields.flatMap(([says, size]): Stretch[] => {
    const from = at;
    if (typeof size === "number") {
      at += size;
      const value = Buffer.from(bytes.subarray(from, at)).readUIntBE(0, size);
      return [{ bytes: bytes.subarray(from, at), says: size === 2 ? `${says}: ${value}` : says }];
    }
    const length = (bytes[at]! << 8) | bytes[at + 1]!;
    at += 2 + length;
    const content = bytes.subarray(from + 2, at);
    const text = size === "text" && length <= 40 ? ` ${JSON.stringify(Buffer.from(content).toString())}` : "";
    return [
      { bytes: bytes.subarray(from, from + 2), says: `${length} bytes` },
      ...(length === 0 ? [] : [{ bytes: content, says: `${says}${text}` }]),
    ];
  });
}
