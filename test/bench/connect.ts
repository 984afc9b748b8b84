/**
 * CONNECT over plain TCP, over TLS 1.3, with client certificates, and over TLS sessions that are resumed; against Aedes
 * without hooks on the same kind of connection, and against mosquitto.
 */
import { mosquittoLogin, startMosquitto, type Mosquitto, mosquittoVersion } from "./broker/mosquitto.ts";
import { cpuMicrosecondsOf } from "./broker/cpu-time.ts";
import { startChild } from "./child.ts";
import { connectOnce, obtainSession, openContext, type Door, type Presented } from "./connect-load.ts";
import { DEVICE, type Installation, type TlsIdentity } from "./installation.ts";
import { cpuExcess, cpuRatio, measure, runWide, type Contestant, type Measured, type Plan } from "./rounds.ts";
import { formatCpu, formatGoal, formatRate, printHeading, printNote, printTable } from "./table.ts";

const atATime = 8;
const goalMilliseconds = 0.25;
/** All of them come from one address here. */
const limits = { connectionsPerAddress: 1_000_000, connectsPerMinute: 1_000_000 };

type Kind = "plain TCP" | "TLS 1.3" | "TLS 1.3, certificate" | "resumed" | "resumed, certificate";

/** What is presented at one of the brokers. */
interface Entry {
  readonly kind: Kind;
  readonly name: string;
  readonly server: { readonly pid: number };
  readonly port: number;
  /** Made anew for each connection, before the round. */
  readonly present?: () => Omit<Presented, "clientId">;
  readonly hasGoal?: boolean;
}

export async function benchConnect(installation: Installation, plan: Plan, profileDir?: string): Promise<void> {
  const { dataDir } = installation;
  const bare = await startChild("bare-broker", dataDir);
  const postern = await startChild("postern", dataDir, { profileDir, limits });
  const mosquitto = mosquittoVersion() === undefined ? undefined : await startMosquitto(dataDir);
  const issuer = `https://localhost:${postern.httpPort}`;

  const { deviceSigner: signer } = installation;
  const bearer = (): string => Buffer.from(installation.bearerToken(issuer)).toString("base64url");
  const [sameBearer, sameToken] = [bearer(), installation.token(issuer)];
  const withBearer = (password: string) => ({ username: "bearer", password });
  const withToken = (token: Uint8Array) => ({ token, signer });
  const ours = { server: postern, port: postern.mqttsPort };
  const theirs = { server: bare, port: bare.mqttsPort };
  const orNone = (make: (mosquitto: Mosquitto) => Entry[]): Entry[] => (mosquitto === undefined ? [] : make(mosquitto));
  const ofTls = (kind: Kind): Entry[] => [
    { kind, name: "bare Aedes, anonymous", ...theirs },
    {
      kind,
      name: "token and proof, every token new",
      ...ours,
      present: () => withToken(installation.token(issuer)),
      hasGoal: true,
    },
    {
      kind,
      name: "token and proof, the same token again",
      ...ours,
      present: () => withToken(sameToken),
      hasGoal: true,
    },
    ...orNone((server) => [{ kind, name: "mosquitto, anonymous", server, port: server.mqttsPort }]),
  ];
  const ofMutual = (kind: Kind): Entry[] => [
    { kind, name: "bare Aedes, certificate not looked at", ...theirs },
    { kind, name: "device certificate, grants of its roles", ...ours },
    ...orNone((server) => [{ kind, name: "mosquitto, certificate demanded", server, port: server.mutualPort }]),
  ];

  const entries: Entry[] = [
    { kind: "plain TCP", name: "bare Aedes, anonymous", server: bare, port: bare.mqttPort },
    ...[
      { name: "bearer token, every token new", present: () => withBearer(bearer()) },
      { name: "bearer token, the same token again", present: () => withBearer(sameBearer) },
    ].map((entry): Entry => ({ kind: "plain TCP", server: postern, port: postern.mqttPort, ...entry })),
    ...orNone((server) => [
      { kind: "plain TCP", name: "mosquitto, anonymous", server, port: server.mqttPort },
      {
        kind: "plain TCP",
        name: "mosquitto, password",
        server,
        port: server.passwordPort,
        present: () => mosquittoLogin,
      },
    ]),
    ...ofTls("TLS 1.3"),
    ...ofMutual("TLS 1.3, certificate"),
    ...ofTls("resumed"),
    ...ofMutual("resumed, certificate"),
  ];
  const contestants = entries.map((entry) => enter(entry, installation));
  const results = await measure(contestants, plan);
  await bare.stop();
  await postern.stop();
  await mosquitto?.stop();
  print(entries, results, plan);
}

let number = 0;

function enter(entry: Entry, { caPem, device }: Installation): Contestant {
  const { kind, name, server, port, present } = entry;
  const identity: TlsIdentity | undefined = kind.endsWith("certificate") ? device : undefined;
  const context = kind === "plain TCP" ? undefined : openContext(caPem, identity);
  const makePresented = (): Presented => ({ clientId: `${DEVICE}:${++number}`, ...present?.() });
  let door: Door = { port, context };
  let presented: Presented[] = [];
  return {
    name,
    async prepare(operations) {
      // a ticket lives for minutes only
      if (kind.startsWith("resumed"))
        door = { ...door, session: await obtainSession({ port, context }, makePresented()) };
      presented = Array.from({ length: operations }, makePresented);
    },
    run: (operations) => runWide(operations, atATime, (operation) => connectOnce(door, presented[operation]!)),
    cpuMicroseconds: () => cpuMicrosecondsOf(server.pid),
  };
}

function print(entries: readonly Entry[], results: readonly Measured[], plan: Plan): void {
  printHeading("CONNECT");
  printNote(
    `${plan.rounds} rounds of ${plan.operations} connections, ${atATime} at a time, each with CONNECT, CONNACK and DISCONNECT; ` +
      "over TLS 1.3 with a full handshake, or resumed by a ticket. CPU of the broker in µs per connection, user and system: " +
      "median (least–most) of the rounds. Difference and ratio are of CPU, round by round, to Aedes without hooks on the " +
      "same kind of connection. Ours with default limits, but for connections of one address.",
  );
  const bases = new Map<Kind, Measured>();
  const rows = entries.map(({ kind, name, hasGoal }, index): string[] => {
    const measured = results[index]!;
    const base = bases.get(kind) ?? measured;
    bases.set(kind, base);
    const excess = cpuExcess(measured, base) / 1000;
    return [
      kind,
      name,
      formatCpu(measured),
      measured === base ? "" : `${excess < 0 ? "−" : "+"}${Math.abs(excess).toFixed(2)}`,
      cpuRatio(measured, base).toFixed(2),
      hasGoal === true ? formatGoal(excess, goalMilliseconds, " ms") : "",
      formatRate(measured),
    ];
  });
  printTable([["connection", "broker", "CPU µs", "more, ms", "ratio", "goal", "per s"], ...rows], [0, 1, 5]);
}
