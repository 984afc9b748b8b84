/**
 * Token issue over connections that stay, against a bare server that does the same cryptography. All over TLS 1.3; requests
 * are made before the round is measured.
 */
import { randomBytes } from "node:crypto";
import { ACE_CBOR, encodeTokenRequest } from "../../shared/ace.ts";
import { SIGN, VERIFY_AND_SIGN } from "./bare-issuer.ts";
import { startChild, type Child } from "./child.ts";
import { CONNECTIONS, enterServer } from "./entrant.ts";
import { toPost, type HttpConnection } from "./http-load.ts";
import { BEARER_AUDIENCE, BOUND_AUDIENCE, SERVICE, type Installation, type TlsIdentity } from "./installation.ts";
import { cpuRatio, measure, quantile, type Measured, type Plan } from "./rounds.ts";
import { formatCpu, formatGoal, formatRate, printHeading, printNote, printTable } from "./table.ts";

const goals = { proof: 1.4, secret: 2 } as const;
/** About what a client assertion takes. */
const signedBytes = 110;

export async function benchIssue(installation: Installation, plan: Plan, profileDir?: string): Promise<void> {
  const { dataDir } = installation;
  const [bare, postern] = [
    await startChild("bare-issuer", dataDir),
    await startChild("postern", dataDir, { profileDir }),
  ];
  const open: HttpConnection[] = [];

  const enter = (name: string, server: Child, makeRequest: () => Buffer, identity?: TlsIdentity) =>
    enterServer(name, server, makeRequest, { installation, open, ...(identity !== undefined && { identity }) });

  const issuer = `https://localhost:${postern.httpPort}`;
  const secretRequest = askWithSecret(installation);
  const certificateRequest = toPost("/token", ACE_CBOR, encodeTokenRequest({ audience: BOUND_AUDIENCE }));
  const results = await measure(
    [
      await enter("bare: verify one, sign one", bare, () => askBare(installation)),
      await enter("CBOR with assertion, bound CWT", postern, () => askWithAssertion(installation, issuer)),
      await enter("bare: sign one", bare, () => toPost(SIGN, "application/octet-stream", randomBytes(signedBytes))),
      await enter("CBOR with device certificate, bound CWT", postern, () => certificateRequest, installation.device),
      await enter("form with secret, bearer JWT", postern, () => secretRequest),
    ],
    plan,
  );
  for (const connection of open) connection.close();
  await bare.stop();
  await postern.stop();
  print(results, plan);
}

function print(results: readonly Measured[], plan: Plan): void {
  const [verifying, assertion, signing, certificate, secret] = results as [
    Measured,
    Measured,
    Measured,
    Measured,
    Measured,
  ];
  printHeading("Token issue");
  printNote(
    `${plan.rounds} rounds of ${plan.operations} requests on ${CONNECTIONS} TLS 1.3 connections that stay. CPU of the ` +
      "server in µs per token, user and system: median (least–most) of the rounds. The ratio is of CPU, pair by pair, to " +
      "a bare node:https server: verifying and signing once for a proof by assertion, signing once for the others.",
  );
  const toRow = (measured: Measured, ratio: string, goal: string): string[] => [
    measured.name,
    formatCpu(measured),
    ratio,
    goal,
    formatRate(measured),
    quantile(measured.latencies, 0.5).toFixed(1),
    quantile(measured.latencies, 0.99).toFixed(1),
  ];
  const toOurs = (measured: Measured, bare: Measured, goal?: number): string[] => {
    const ratio = cpuRatio(measured, bare);
    return toRow(measured, ratio.toFixed(2), goal === undefined ? "" : formatGoal(ratio, goal));
  };
  printTable(
    [
      ["server", "CPU µs", "ratio", "goal", "per s", "p50 ms", "p99 ms"],
      toRow(verifying, "1.00", ""),
      toOurs(assertion, verifying, goals.proof),
      toRow(signing, "1.00", ""),
      toOurs(certificate, signing),
      toOurs(secret, signing, goals.secret),
    ],
    [0, 3],
  );
}

function askBare({ deviceSigner }: Installation): Buffer {
  const message = randomBytes(signedBytes);
  const body = Buffer.concat([deviceSigner.sign(message), message]);
  return toPost(VERIFY_AND_SIGN, "application/octet-stream", body);
}

function askWithAssertion(installation: Installation, issuer: string): Buffer {
  const clientAssertion = installation.cwtAssertion(issuer);
  return toPost("/token", ACE_CBOR, encodeTokenRequest({ audience: BOUND_AUDIENCE, clientAssertion }));
}

function askWithSecret({ serviceSecret }: Installation): Buffer {
  const fields = new URLSearchParams({
    grant_type: "client_credentials",
    client_id: SERVICE,
    client_secret: serviceSecret,
    audience: BEARER_AUDIENCE,
  });
  return toPost("/token", "application/x-www-form-urlencoded", fields.toString());
}
