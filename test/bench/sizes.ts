/**
 * Sizes: the token of a device with three grants, as the authority issues it in CBOR and in JSON to the same key.
 */
import { ACE_CBOR, encodeTokenRequest, readTokenResponse } from "../../shared/ace.ts";
import { toBase64url } from "../../shared/base64url.ts";
import { formatPermission } from "../../shared/scope.ts";
import { inspectToken } from "../../shared/token.ts";
import { startChild } from "./child.ts";
import { HttpConnection, toPost } from "./http-load.ts";
import { BOUND_AUDIENCE, DEVICE, type Installation } from "./installation.ts";
import { formatGoal, printHeading, printNote, printTable } from "./table.ts";
import { partsOf } from "./token-parts.ts";

const goalBytes = 240;
const goalRatio = 0.6;
const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

export async function benchSizes(installation: Installation): Promise<void> {
  const postern = await startChild("postern", installation.dataDir);
  const issuer = `https://localhost:${postern.httpPort}`;
  const connection = await HttpConnection.open({ port: postern.httpPort, caPem: installation.caPem });
  const { accessToken: cwt } = readTokenResponse(await connection.ask(askInCbor(installation, issuer)));
  const answer = JSON.parse((await connection.ask(askInJson(installation, issuer))).toString()) as Answer;
  const jwt = answer.access_token;
  connection.close();
  await postern.stop();

  const { claims, grants } = inspectToken(cwt);
  const text = toBase64url(cwt);
  const toJwt = (bytes: number): string => (bytes / jwt.length).toFixed(2);
  printHeading("Sizes");
  printNote(
    `Client \`${claims.sub}\`, audience \`${claims.aud}\`, issuer \`${claims.iss}\`, ` +
      `grants ${grants.map((grant) => `\`${formatPermission(grant)}\``).join(", ")}; ` +
      "both tokens from the authority, bound to the same key. The ratio is to the JWT.",
  );
  printTable(
    [
      ["token", "bytes", "ratio", "goal"],
      ["JWT, as sent", String(jwt.length), "1.00", ""],
      ["CWT", String(cwt.length), toJwt(cwt.length), formatSizeGoal(cwt.length, cwt.length / jwt.length)],
      ["CWT in base64url, as sent in the user name", String(text.length), toJwt(text.length), ""],
    ],
    [0, 3],
  );
  const later = cwt.length - claims.id.length;
  printNote(
    `This is token number ${Number.parseInt(Buffer.from(claims.id).toString("hex"), 16)} of its installation. The number ` +
      `is its \`cti\`, so from number 256 on a CWT like this has ${later + 2} bytes, and from 65,536 on ${later + 3}.`,
  );
  printNote("Where the bytes of the CWT go:");
  const parts = partsOf(cwt).map(({ name, bytes, remark }) => [name, String(bytes), remark]);
  printTable([["part", "bytes", "what is in it"], ...parts], [0, 2]);
}

interface Answer {
  readonly access_token: string;
}

function formatSizeGoal(bytes: number, ratio: number): string {
  return `${formatGoal(bytes, goalBytes, " bytes")}; ${formatGoal(ratio, goalRatio)}`;
}

function askInCbor(installation: Installation, issuer: string): Buffer {
  const clientAssertion = installation.cwtAssertion(issuer);
  return toPost("/token", ACE_CBOR, encodeTokenRequest({ audience: BOUND_AUDIENCE, clientAssertion }));
}

function askInJson(installation: Installation, issuer: string): Buffer {
  const body = {
    grant_type: "client_credentials",
    client_id: DEVICE,
    audience: BOUND_AUDIENCE,
    client_assertion_type: jwtBearer,
    client_assertion: installation.jwtAssertion(issuer),
  };
  return toPost("/token", "application/json", JSON.stringify(body));
}
