/**
 * A resource server that verifies by itself: `createVerifier` in mode `local` against jwtVerify of jose with the key at hand,
 * in one process, one token after the other.
 */
import { importJWK, jwtVerify } from "jose";
import { createVerifier } from "../../../verify/index.ts";
import { startChild } from "../child.ts";
import { HttpConnection, toRequest } from "../http-load.ts";
import type { Installation } from "../installation.ts";
import { cpuRatio, measure, rateRatio, type Contestant, type Measured, type Plan } from "../rounds.ts";
import { formatCpu, formatLeast, formatRate, printHeading, printNote, printTable } from "../table.ts";
import { WEB_AUDIENCE } from "./provider.ts";

const goals = { same: 1.5, fresh: 0.95 } as const;

export async function benchHttpLocal(installation: Installation, plan: Plan): Promise<void> {
  const server = await startChild("postern", installation.dataDir);
  const issuer = `https://localhost:${server.httpPort}`;
  const verifier = await createVerifier({ issuer, audience: WEB_AUDIENCE, ca: installation.caPem, mode: "local" });
  const { keys } = await readKeys(server.httpPort, installation.caPem);
  const key = await importJWK(keys[0]!, "ES256");
  const expected = { issuer, audience: WEB_AUDIENCE, typ: "at+jwt", algorithms: ["ES256"] };

  const ours = (token: string): Promise<unknown> => verifier.verify(token);
  const theirs = (token: string): Promise<unknown> => jwtVerify(token, key, expected);
  const makeToken = (): string => installation.webToken(issuer);
  const same = makeToken();
  const results = await measure(
    [
      enter("jose", () => same, theirs),
      enter("postern/verify", () => same, ours),
      enter("jose", makeToken, theirs),
      enter("postern/verify", makeToken, ours),
    ],
    plan,
  );
  await verifier.close();
  await server.stop();
  print(plan, results as [Measured, Measured, Measured, Measured]);
}

function print(plan: Plan, [theirSame, ourSame, theirFresh, ourFresh]: readonly Measured[] & { length: 4 }): void {
  printHeading("HTTP: verification by the resource server itself");
  printNote(
    `${plan.rounds} rounds of ${plan.operations} tokens, ES256 JWTs, one after the other in one process. jose: jwtVerify ` +
      "with the imported key, issuer, audience, type and algorithm. Ours: `createVerifier` in mode `local`, with its keys " +
      "from the authority. CPU of the process in µs per token, user and system, all threads: median (least–most) of the " +
      "rounds; jose verifies on another thread. The ratios are to jose, round by round, and the goal is of tokens in a " +
      "second of CPU, since the rate is also that of what else the machine does.",
  );
  const toRow = (tokens: string, measured: Measured, theirs: Measured, goal?: number): string[] => [
    tokens,
    measured.name,
    formatCpu(measured, 1),
    cpuRatio(measured, theirs).toFixed(2),
    formatRate(measured),
    rateRatio(measured, theirs).toFixed(2),
    goal === undefined ? "" : formatLeast(cpuRatio(theirs, measured), goal),
  ];
  printTable(
    [
      ["tokens", "verified by", "CPU µs", "ratio", "per s", "rate", "goal"],
      toRow("the same again", theirSame!, theirSame!),
      toRow("the same again", ourSame!, theirSame!, goals.same),
      toRow("always a new one", theirFresh!, theirFresh!),
      toRow("always a new one", ourFresh!, theirFresh!, goals.fresh),
    ],
    [0, 1, 6],
  );
}

function enter(name: string, makeToken: () => string, verify: (token: string) => Promise<unknown>): Contestant {
  let tokens: string[] = [];
  return {
    name,
    prepare: (operations) => {
      tokens = Array.from({ length: operations }, makeToken);
    },
    async run(operations) {
      const started = performance.now();
      for (let n = 0; n < operations; n++) await verify(tokens[n]!);
      return { seconds: (performance.now() - started) / 1000, latencies: [] };
    },
    cpuMicroseconds: () => {
      const { user, system } = process.cpuUsage();
      return user + system;
    },
  };
}

async function readKeys(port: number, caPem: string): Promise<{ readonly keys: readonly Record<string, string>[] }> {
  const connection = await HttpConnection.open({ port, caPem });
  const answer = await connection.ask(toRequest("GET", "/.well-known/jwks.json", {}, ""));
  connection.close();
  return JSON.parse(answer.toString()) as { keys: Record<string, string>[] };
}
