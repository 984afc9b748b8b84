/**
 * verify-token: the api asks ours about signed tokens and oidc-provider about opaque ones, since it refuses to speak of
 * signed ones.
 */
import { LOOK_UP } from "../bare-issuer.ts";
import { startChild, type Child } from "../child.ts";
import { CONNECTIONS, enterServer } from "../entrant.ts";
import { HttpConnection } from "../http-load.ts";
import type { Installation } from "../installation.ts";
import { cpuRatio, measure, quantile, rateRatio, type Measured, type Plan } from "../rounds.ts";
import { formatCpu, formatLeast, formatRate, printHeading, printNote, printTable } from "../table.ts";
import { askAbout, askBySecret, readToken, target, theirPaths } from "./requests.ts";

const goal = 5;
/** The memory adapter of oidc-provider keeps a thousand. */
const tokenCount = 500;

export async function benchHttpIntrospect(installation: Installation, plan: Plan, profileDir?: string): Promise<void> {
  const { dataDir, provider } = installation;
  const bare = await startChild("bare-issuer", dataDir);
  const theirs = await startChild("oidc-provider", dataDir);
  const ours = await startChild("postern", dataDir, { profileDir });
  const open: HttpConnection[] = [];
  const at = { installation, open };
  const opaque = await obtain(theirs, installation, askBySecret(theirPaths.token, provider, target.opaque));
  const signed = await obtain(ours, installation, askBySecret("/token", provider, target.ours));
  const inTurn = (path: string, tokens: readonly string[]): (() => Buffer) => {
    const requests = tokens.map((token) => askAbout(path, provider, token));
    let next = 0;
    return () => requests[next++ % requests.length]!;
  };
  await assertActive(theirs, installation, inTurn(theirPaths.introspection, opaque)());
  await assertActive(ours, installation, inTurn("/introspect", signed)());
  const results = await measure(
    [
      await enterServer("bare: look up in a Map", bare, inTurn(LOOK_UP, signed), at),
      await enterServer("oidc-provider, opaque token", theirs, inTurn(theirPaths.introspection, opaque), at),
      await enterServer("postern, signed token", ours, inTurn("/introspect", signed), at),
    ],
    plan,
  );
  for (const connection of open) connection.close();
  for (const server of [bare, theirs, ours]) await server.stop();
  print(plan, results as [Measured, Measured, Measured]);
}

function print(plan: Plan, [bare, theirs, ours]: readonly [Measured, Measured, Measured]): void {
  printHeading("HTTP: verify-token");
  printNote(
    `${plan.rounds} rounds of ${plan.operations} questions on ${CONNECTIONS} TLS 1.3 connections that stay, about ` +
      `${tokenCount} tokens in turn, with the credential of the api in HTTP Basic. oidc-provider with its memory adapter ` +
      "and opaque tokens, as it speaks of no others; ours with JWTs, and says of each whether the client, its roles, the " +
      "key and the token itself are still good. CPU of the server in µs per question, user and system: median " +
      "(least–most) of the rounds. The ratio of CPU is to a bare node:https server that looks the body up in a Map, that " +
      "of the rate to oidc-provider, round by round.",
  );
  const toRow = (measured: Measured, met = ""): string[] => [
    measured.name,
    formatCpu(measured),
    cpuRatio(measured, bare).toFixed(2),
    formatRate(measured),
    rateRatio(measured, theirs).toFixed(2),
    quantile(measured.latencies, 0.5).toFixed(1),
    quantile(measured.latencies, 0.99).toFixed(1),
    met,
  ];
  printTable(
    [
      ["server", "CPU µs", "ratio", "per s", "rate", "p50 ms", "p99 ms", "goal"],
      toRow(bare),
      toRow(theirs),
      toRow(ours, `rate ${formatLeast(rateRatio(ours, theirs), goal)}`),
    ],
    [0, 7],
  );
}

async function obtain(server: Child, { caPem }: Installation, request: Buffer): Promise<string[]> {
  const connection = await HttpConnection.open({ port: server.httpPort, caPem });
  const tokens: string[] = [];
  for (let n = 0; n < tokenCount; n++) tokens.push(readToken(await connection.ask(request)));
  connection.close();
  return tokens;
}

/** What is measured must not be the refusal of a token. */
async function assertActive(server: Child, { caPem }: Installation, request: Buffer): Promise<void> {
  const connection = await HttpConnection.open({ port: server.httpPort, caPem });
  const answer = (await connection.ask(request)).toString();
  connection.close();
  if ((JSON.parse(answer) as { active: boolean }).active) return;
  throw new Error(`${server.kind} says of a token that is good: ${answer}`);
}
