/**
 * get-access-token: ours against oidc-provider, which issues JWTs of the same form to the same client, and against a bare
 * server that does no more than the cryptography.
 */
import { randomBytes } from "node:crypto";
import { SIGN, VERIFY_AND_SIGN } from "../bare-issuer.ts";
import { startChild } from "../child.ts";
import { CONNECTIONS, enterServer } from "../entrant.ts";
import { toPost, type HttpConnection } from "../http-load.ts";
import type { Installation } from "../installation.ts";
import { cpuRatio, measure, quantile, rateRatio, type Measured, type Plan } from "../rounds.ts";
import { formatCpu, formatGoal, formatLeast, formatRate, printHeading, printNote, printTable } from "../table.ts";
import { askByKey, askBySecret, target, theirPaths } from "./requests.ts";

const goals = { secret: 2, proof: 1.4, rate: 3 } as const;
/** About what a client assertion takes. */
const signedBytes = 200;

/** The rows for one way to prove who asks. */
interface Way {
  readonly name: string;
  readonly bare: Measured;
  readonly theirs: Measured;
  readonly ours: Measured;
  readonly cpuGoal: number;
}

export async function benchHttpIssue(installation: Installation, plan: Plan, profileDir?: string): Promise<void> {
  const { dataDir, provider } = installation;
  const bare = await startChild("bare-issuer", dataDir);
  const theirs = await startChild("oidc-provider", dataDir);
  const ours = await startChild("postern", dataDir, { profileDir });
  const open: HttpConnection[] = [];
  const at = { installation, open };
  const issuers = { theirs: `https://localhost:${theirs.httpPort}`, ours: `https://localhost:${ours.httpPort}` };
  const results = await measure(
    [
      await enterServer("bare: sign one", bare, () => askBare(SIGN, installation), at),
      await enterServer("oidc-provider", theirs, () => askBySecret(theirPaths.token, provider, target.theirs), at),
      await enterServer("postern", ours, () => askBySecret("/token", provider, target.ours), at),
      await enterServer("bare: verify one, sign one", bare, () => askBare(VERIFY_AND_SIGN, installation), at),
      await enterServer(
        "oidc-provider",
        theirs,
        () => askByKey(theirPaths.token, provider, target.theirs, issuers.theirs),
        at,
      ),
      await enterServer("postern", ours, () => askByKey("/token", provider, target.ours, issuers.ours), at),
    ],
    plan,
  );
  for (const connection of open) connection.close();
  for (const server of [bare, theirs, ours]) await server.stop();
  const [bareSecret, theirsSecret, oursSecret, bareProof, theirsProof, oursProof] = results as [
    Measured,
    Measured,
    Measured,
    Measured,
    Measured,
    Measured,
  ];
  print(plan, [
    { name: "secret", bare: bareSecret, theirs: theirsSecret, ours: oursSecret, cpuGoal: goals.secret },
    { name: "private_key_jwt", bare: bareProof, theirs: theirsProof, ours: oursProof, cpuGoal: goals.proof },
  ]);
}

function print(plan: Plan, ways: readonly Way[]): void {
  printHeading("HTTP: get-access-token");
  printNote(
    `${plan.rounds} rounds of ${plan.operations} requests on ${CONNECTIONS} TLS 1.3 connections that stay, the same for ` +
      "all: client_credentials with the scope `read` of an api of kind http, answered with an ES256 JWT of an hour; the " +
      "client by client_secret_basic or by private_key_jwt with a new assertion each time. oidc-provider with its memory " +
      "adapter, behind node:https with the same certificate; ours with its registry on the disk, without a limit on the " +
      "tokens of a client. CPU of the server in µs per token, user and system: median (least–most) of the rounds. The " +
      "ratio of CPU is to the bare server of the same part, that of the rate to oidc-provider, round by round.",
  );
  const rows = ways.flatMap(({ name, bare, theirs, ours, cpuGoal }) => {
    const toRow = (measured: Measured, way: string, goal = ""): string[] => [
      way,
      measured.name,
      formatCpu(measured),
      cpuRatio(measured, bare).toFixed(2),
      formatRate(measured),
      rateRatio(measured, theirs).toFixed(2),
      quantile(measured.latencies, 0.5).toFixed(1),
      quantile(measured.latencies, 0.99).toFixed(1),
      goal,
    ];
    const [p99, theirP99] = [quantile(ours.latencies, 0.99), quantile(theirs.latencies, 0.99)];
    const met = [
      `CPU ${formatGoal(cpuRatio(ours, bare), cpuGoal)}`,
      `rate ${formatLeast(rateRatio(ours, theirs), goals.rate)}`,
      `p99 goal lower: ${p99 < theirP99 ? "met" : "not met"}`,
    ];
    return [toRow(bare, name), toRow(theirs, name), toRow(ours, name, met.join("; "))];
  });
  printTable(
    [["client", "server", "CPU µs", "ratio", "per s", "rate", "p50 ms", "p99 ms", "goal"], ...rows],
    [0, 1, 8],
  );
}

function askBare(path: string, { deviceSigner }: Installation): Buffer {
  const message = randomBytes(signedBytes);
  const body = path === SIGN ? message : Buffer.concat([deviceSigner.sign(message), message]);
  return toPost(path, "application/octet-stream", body);
}
