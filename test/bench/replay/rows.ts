/**
 * The rows of a replay: what becomes of messages that somebody should not, or no longer, send or receive. All of it over
 * plain MQTT with user name and password, so that any broker can be asked.
 */
import type { IConnectPacket, IPublishPacket } from "mqtt-packet";
import { Wire } from "../../gate/wire.ts";
import { ground, type Credential, type Identity, type Profile } from "./profile.ts";

/**
 * What happened: the message reached who waits for it, or it did not and the connection is still there, or is closed; a
 * CONNECT is let in or refused; or the broker knows no such thing.
 */
export type Outcome = "delivered" | "let in" | "refused" | "closed" | "not applicable";

export interface ReplayRow {
  readonly name: string;
  /** What Postern is for. */
  readonly ours: readonly Outcome[];
  play(stage: Stage): Promise<Outcome>;
}

/** A broker, a witness that may read everything, and a writer that may write everything. */
export interface Stage {
  readonly profile: Profile;
  enter(identity: Identity, packet?: Partial<IConnectPacket>, credential?: Credential): Promise<Wire | undefined>;
  /** Publishes as the writer, and waits until that is acknowledged. */
  write(topic: string, payload: string, retain?: boolean): Promise<void>;
  /** Whether the witness has heard this since it was asked last. */
  heard(payload: string): Promise<boolean>;
}

export async function openStage(profile: Profile): Promise<Stage & { close(): void }> {
  const wires: Wire[] = [];
  const enter: Stage["enter"] = async (identity, packet = {}, credential = profile.credential(identity)) => {
    const wire = await Wire.open({ port: profile.port, transport: "tcp" });
    wires.push(wire);
    const connack = await wire.connect({ ...credential, ...packet }).catch(() => undefined);
    return connack?.returnCode === 0 ? wire : undefined;
  };
  const witness = await enter("witness");
  const writer = await enter("writer");
  if (witness === undefined || writer === undefined) throw new Error(`${profile.name} lets witness and writer not in`);
  await witness.subscribe([`${ground}/#`], 1);
  let last = 0;
  return {
    profile,
    enter,
    write: (topic, payload, retain = false) => writer.publish(topic, payload, { qos: 1, retain }),
    async heard(wanted) {
      const mark = `mark ${++last}`;
      await writer.publish(`${ground}/mark`, mark, { qos: 1 });
      let isHeard = false;
      for (let payload = ""; payload !== mark;) {
        ({ payload } = await witness.message());
        isHeard ||= payload === wanted;
      }
      return isHeard;
    },
    close() {
      for (const wire of wires) wire.drop();
    },
  };
}

/** Publishes as a client that may be refused; resolves once that is decided. */
async function attempt(stage: Stage, wire: Wire, topic: string, payload: string): Promise<Outcome> {
  wire.send({ cmd: "publish", topic, payload, qos: 0, retain: false, dup: false });
  const isThere = await isServed(wire);
  if (await stage.heard(payload)) return "delivered";
  return isThere ? "refused" : "closed";
}

/** Whether what was sent to the broker for this client has arrived. */
async function receives(stage: Stage, wire: Wire, topic: string, payload: string): Promise<Outcome> {
  await stage.write(topic, payload);
  const isThere = await isServed(wire);
  return holds(wire, payload) ? "delivered" : isThere ? "refused" : "closed";
}

const isServed = (wire: Wire): Promise<boolean> =>
  wire.settled().then(
    () => true,
    () => false,
  );

const holds = (wire: Wire, payload: string): boolean =>
  wire.all("publish").some((packet) => (packet as IPublishPacket).payload.toString() === payload);

/** Has the broker end the connection, which is not a goodbye. */
async function breakOff(wire: Wire): Promise<void> {
  wire.sendBytes(Buffer.of(0, 0));
  await wire.closed;
}

const will = (topic: string, payload: string) => {
  return { will: { topic, payload: Buffer.from(payload), qos: 1, retain: false } } as const;
};

export const rows: readonly ReplayRow[] = [
  {
    name: "a message that is granted",
    ours: ["delivered"],
    async play(stage) {
      const wire = await stage.enter("thief");
      return attempt(stage, wire!, `${ground}/thief`, "granted");
    },
  },
  {
    name: "a message that is not granted",
    ours: ["closed"],
    async play(stage) {
      const wire = await stage.enter("thief");
      return attempt(stage, wire!, `${ground}/owner`, "not granted");
    },
  },
  {
    name: "a message of a live session whose credential has ended",
    ours: ["closed"],
    async play(stage) {
      const credential = stage.profile.endingCredential?.("mortal", 2);
      if (credential === undefined) return "not applicable";
      const wire = await stage.enter("mortal", {}, credential);
      await wire!.closed;
      return attempt(stage, wire!, `${ground}/mortal`, "too late");
    },
  },
  {
    name: "a message to a live session whose credential has ended",
    ours: ["closed"],
    async play(stage) {
      const credential = stage.profile.endingCredential?.("mortal", 2);
      if (credential === undefined) return "not applicable";
      const wire = await stage.enter("mortal", {}, credential);
      await wire!.subscribe([`${ground}/mortal/in`], 1);
      await wire!.closed;
      return receives(stage, wire!, `${ground}/mortal/in`, "too late to hear");
    },
  },
  {
    name: "a message of a live session that was given another credential in time",
    ours: ["delivered"],
    async play(stage) {
      const { endingCredential, renew } = stage.profile;
      if (endingCredential === undefined || renew === undefined) return "not applicable";
      const wire = await stage.enter("mortal", {}, endingCredential("mortal", 2));
      await renew("mortal", wire!);
      const other = await stage.enter("leaver", {}, endingCredential("leaver", 2));
      await other!.closed;
      return attempt(stage, wire!, `${ground}/mortal`, "renewed");
    },
  },
  {
    name: "a CONNECT with a credential that has ended",
    ours: ["refused"],
    async play(stage) {
      const credential = stage.profile.endingCredential?.("mortal", -60);
      if (credential === undefined) return "not applicable";
      return (await stage.enter("mortal", {}, credential)) === undefined ? "refused" : "let in";
    },
  },
  {
    name: "a CONNECT with a wrong password",
    ours: ["refused"],
    async play(stage) {
      const credential = { ...stage.profile.credential("mortal"), password: Buffer.alloc(100, "A") };
      return (await stage.enter("mortal", {}, credential)) === undefined ? "refused" : "let in";
    },
  },
  {
    name: "a retained message of a topic that is not granted, asked for by a wider filter",
    ours: ["refused"],
    async play(stage) {
      await stage.write(`${ground}/secret`, "retained", true);
      const wire = await stage.enter("thief");
      await wire!.subscribe([`${ground}/secret`, `${ground}/+`, "#"], 1);
      await stage.write(`${ground}/secret`, "live");
      const isThere = await isServed(wire!);
      if (holds(wire!, "retained") || holds(wire!, "live")) return "delivered";
      return isThere ? "refused" : "closed";
    },
  },
  {
    name: "a will on a topic that is not granted",
    ours: ["refused"],
    async play(stage) {
      const wire = await stage.enter("thief", will(`${ground}/owner`, "will, not granted"));
      if (wire !== undefined) await breakOff(wire);
      return (await stage.heard("will, not granted")) ? "delivered" : "refused";
    },
  },
  {
    name: "a CONNECT under the client id of another that is connected",
    ours: ["refused"],
    async play(stage) {
      const owner = await stage.enter("owner", { clean: false });
      const { clientId } = stage.profile.credential("owner");
      const thief = await stage.enter("thief", { clientId });
      if (thief !== undefined) return "let in";
      return (await isServed(owner!)) ? "refused" : "closed";
    },
  },
  {
    name: "messages that wait for another, asked for under its client id",
    ours: ["refused"],
    async play(stage) {
      const owner = await stage.enter("owner", { clean: false });
      await owner!.subscribe([`${ground}/owner`], 1);
      await owner!.leave();
      await stage.write(`${ground}/owner`, "for the owner");
      const { clientId } = stage.profile.credential("owner");
      const thief = await stage.enter("thief", { clientId, clean: false });
      if (thief === undefined) return "refused";
      await isServed(thief);
      return holds(thief, "for the owner") ? "delivered" : "refused";
    },
  },
  {
    name: "client id and user name with wildcards, and a filter made of them",
    ours: ["refused"],
    async play(stage) {
      const { password } = stage.profile.credential("thief");
      const wire = await stage.enter("thief", {}, { clientId: "#", username: "#", password });
      if (wire === undefined) return "refused";
      await wire.subscribe([`${ground}/#`], 1);
      return receives(stage, wire, `${ground}/owner`, "for no wildcard");
    },
  },
  {
    name: "a message to a live session whose rights to it were taken away",
    ours: ["refused"],
    async play(stage) {
      if (stage.profile.change === undefined) return "not applicable";
      const wire = await stage.enter("narrowed");
      await wire!.subscribe([`${ground}/open`, `${ground}/gone`], 1);
      await stage.profile.change("narrowed", { pub: [`${ground}/narrowed`], sub: [`${ground}/open`] }, wire);
      return receives(stage, wire!, `${ground}/gone`, "no longer granted");
    },
  },
  {
    name: "a message that waits for a stored session whose rights to it were taken away",
    ours: ["refused"],
    async play(stage) {
      const { change } = stage.profile;
      if (change === undefined) return "not applicable";
      const wide = { pub: [], sub: [`${ground}/open`, `${ground}/gone`] };
      await change("narrowed", wide, undefined);
      const wire = await stage.enter("narrowed", { clean: false });
      await wire!.subscribe(wide.sub, 1);
      await wire!.leave();
      await stage.write(`${ground}/gone`, "waits and is gone");
      await change("narrowed", { pub: [], sub: [`${ground}/open`] }, undefined);
      const back = await stage.enter("narrowed", { clean: false });
      await isServed(back!);
      return holds(back!, "waits and is gone") ? "delivered" : "refused";
    },
  },
  {
    name: "a message of a live session whose rights to it were taken away",
    ours: ["closed"],
    async play(stage) {
      const { change } = stage.profile;
      if (change === undefined) return "not applicable";
      await change("narrowed", { pub: [`${ground}/narrowed`], sub: [] }, undefined);
      const wire = await stage.enter("narrowed");
      await change("narrowed", { pub: [], sub: [] }, wire);
      return attempt(stage, wire!, `${ground}/narrowed`, "no longer to be sent");
    },
  },
  {
    name: "a message of a live session whose identity was taken back",
    ours: ["closed"],
    async play(stage) {
      if (stage.profile.disable === undefined) return "not applicable";
      const topic = `${ground}/leaver`;
      const wire = await stage.enter("leaver");
      await stage.profile.disable("leaver");
      return attempt(stage, wire!, topic, "of who is taken back");
    },
  },
  {
    name: "the will of a session whose identity was taken back",
    ours: ["refused"],
    async play(stage) {
      const { disable } = stage.profile;
      if (disable === undefined) return "not applicable";
      const wire = await stage.enter("departed", will(`${ground}/departed`, "last will"));
      await disable("departed");
      if (wire !== undefined && !wire.isClosed) await breakOff(wire);
      return (await stage.heard("last will")) ? "delivered" : "refused";
    },
  },
  {
    name: "a CONNECT of an identity that was taken back",
    ours: ["refused"],
    async play(stage) {
      if (stage.profile.disable === undefined) return "not applicable";
      await stage.profile.disable("mortal");
      return (await stage.enter("mortal")) === undefined ? "refused" : "let in";
    },
  },
];
