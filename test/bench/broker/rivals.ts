/**
 * The brokers that are measured side by side, each alone in its process: ours, bare Aedes and, where it is installed,
 * mosquitto; and how a client connects to each over plain TCP.
 */
import { DEVICE, type Installation } from "../installation.ts";
import { startChild, type StartOptions } from "../child.ts";
import { cpuMicrosecondsOf, residentBytesOf } from "./cpu-time.ts";
import { writeConnect } from "./frames.ts";
import { mosquittoVersion, startMosquitto } from "./mosquitto.ts";

/** A broker under test. */
export interface Rival {
  readonly name: RivalName;
  /** Plain MQTT. */
  readonly port: number;
  readonly tlsPort: number;
  /** TLS with a client certificate. */
  readonly mutualPort: number;
  /** The `iss` of tokens for it, where it takes tokens. */
  readonly issuer: string | undefined;
  /** What a CONNECT over plain TCP presents; nothing for a broker that lets everybody in. */
  readonly login: { readonly username?: string; readonly password?: string };
  /** Since it started. */
  readonly cpuMicroseconds: () => number;
  /** Resident memory; for one of ours after a collection, which it must be started to be able to do. */
  residentBytes(): Promise<number>;
  isRunning(): boolean;
  stop(): Promise<void>;
  /** Ends it whatever it is doing; one that is profiled may finish. */
  kill(): Promise<void>;
}

export type RivalName = "Postern" | "bare Aedes" | "mosquitto";

/** How they are started. */
export interface RivalOptions extends StartOptions {
  /** mosquitto keeps sessions and messages over a restart, as ours always does. */
  readonly isPersistent?: boolean;
}

/** The names of those that can be started here; bare Aedes is first, because ratios are to it. */
export function rivalNames(): RivalName[] {
  return ["bare Aedes", "Postern", ...(mosquittoVersion() === undefined ? [] : ["mosquitto" as const])];
}

/** Starts all that can be started here. */
export async function startRivals(installation: Installation, options: RivalOptions = {}): Promise<Rival[]> {
  const rivals: Rival[] = [];
  for (const name of rivalNames()) rivals.push(await startRival(name, installation, options));
  return rivals;
}

/** Starts one. */
export async function startRival(
  name: RivalName,
  installation: Installation,
  options: RivalOptions = {},
): Promise<Rival> {
  const { dataDir } = installation;
  if (name === "mosquitto") {
    const mosquitto = await startMosquitto(dataDir, options);
    const { pid, mqttPort, mqttsPort, mutualPort, isRunning, stop, kill } = mosquitto;
    return {
      name,
      port: mqttPort,
      tlsPort: mqttsPort,
      mutualPort,
      issuer: undefined,
      login: {},
      cpuMicroseconds: () => cpuMicrosecondsOf(pid),
      residentBytes: () => Promise.resolve(residentBytesOf(pid)),
      isRunning,
      stop,
      kill,
    };
  }
  const isOurs = name === "Postern";
  const { profileDir, ...rest } = options;
  const child = await startChild(isOurs ? "postern" : "bare-broker", dataDir, isOurs ? options : rest);
  const { pid, mqttPort, mqttsPort } = child;
  const issuer = isOurs ? `https://localhost:${child.httpPort}` : undefined;
  const bearer = (from: string): string => Buffer.from(installation.bearerToken(from)).toString("base64url");
  return {
    name,
    port: mqttPort,
    tlsPort: mqttsPort,
    mutualPort: mqttsPort,
    issuer,
    login: issuer === undefined ? {} : { username: "bearer", password: bearer(issuer) },
    cpuMicroseconds: () => cpuMicrosecondsOf(pid),
    async residentBytes() {
      await child.collect();
      return residentBytesOf(pid);
    },
    isRunning: () => child.isRunning(),
    stop: () => child.stop(),
    kill: () => (isOurs && profileDir !== undefined ? child.stop() : child.kill()),
  };
}

/** The CONNECT of a client over plain TCP, under a name that ours lets the device of the installation have. */
export function connectFrame(rival: Rival, name: string, isClean = true): Buffer {
  return writeConnect({ clientId: `${DEVICE}:${name}`, clean: isClean, ...rival.login });
}
