/**
 * mosquitto as a server to compare with: a listener of each kind, no delay, no log, and a persistence of its own where asked
 * for. It listens on ports that were free a moment ago, because it does not say which it took.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A running mosquitto. */
export interface Mosquitto {
  readonly pid: number;
  readonly mqttPort: number;
  /** Asks for {@link mosquittoLogin}. */
  readonly passwordPort: number;
  readonly mqttsPort: number;
  /** Demands a client certificate. */
  readonly mutualPort: number;
  readonly isRunning: () => boolean;
  readonly stop: () => Promise<void>;
  readonly kill: () => Promise<void>;
}

/** Who may log in where a password is asked for. */
export const mosquittoLogin = { username: "device", password: "correct horse battery" } as const;

/** The version that is installed, undefined for none. */
export function mosquittoVersion(): string | undefined {
  const { stdout } = spawnSync("mosquitto", ["-h"], { encoding: "latin1" });
  return /^mosquitto version (\S+)/m.exec(stdout ?? "")?.[1];
}

/** Starts one on the certificates of an installation; what it keeps goes into a folder there. */
export async function startMosquitto(dataDir: string, { isPersistent = false } = {}): Promise<Mosquitto> {
  const folder = join(dataDir, "mosquitto");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const passwordFile = join(folder, "passwords");
  const { username, password } = mosquittoLogin;
  const made = spawnSync("mosquitto_passwd", ["-b", "-c", passwordFile, username, password]);
  if (made.status !== 0) throw new Error("mosquitto_passwd failed");

  const [mqttPort, passwordPort, mqttsPort, mutualPort] = await freePorts(4);
  const certificate = [`certfile ${join(dataDir, "server.pem")}`, `keyfile ${join(dataDir, "server.key")}`];
  const demanded = [`cafile ${join(dataDir, "ca.pem")}`, "require_certificate true"];
  const open = "allow_anonymous true";
  const lines = [
    // a process of root would give up the right to read the key before it reads it
    ...(process.getuid?.() === 0 ? ["user root"] : []),
    "per_listener_settings true",
    "set_tcp_nodelay true",
    "log_dest none",
    "log_type none",
    "connection_messages false",
    // nothing is dropped for want of room
    "max_queued_messages 0",
    `persistence ${isPersistent}`,
    `persistence_location ${folder}/`,
    `listener ${mqttPort} 127.0.0.1`,
    open,
    `listener ${passwordPort} 127.0.0.1`,
    "allow_anonymous false",
    `password_file ${passwordFile}`,
    `listener ${mqttsPort} 127.0.0.1`,
    open,
    ...certificate,
    `listener ${mutualPort} 127.0.0.1`,
    open,
    ...certificate,
    ...demanded,
  ];
  const configuration = join(folder, "mosquitto.conf");
  writeFileSync(configuration, `${lines.join("\n")}\n`);
  const child = spawn("mosquitto", ["-c", configuration], { stdio: "ignore" });
  const ended = once(child, "exit");
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  // it must not outlive a run that is broken off
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    process.off("exit", kill);
    child.kill(signal);
    await ended;
  };
  for (let tries = 0; !(await accepts(mutualPort!)); tries++) {
    if (tries === 250 || !isRunning()) throw new Error("mosquitto does not start");
    await sleep(20);
  }
  return {
    pid: child.pid!,
    mqttPort: mqttPort!,
    passwordPort: passwordPort!,
    mqttsPort: mqttsPort!,
    mutualPort: mutualPort!,
    isRunning,
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
  };
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports: number[] = [];
  for (const server of servers) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    ports.push((server.address() as AddressInfo).port);
  }
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const isOpen = await new Promise<boolean>((resolve) => {
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
  });
  socket.destroy();
  return isOpen;
}
