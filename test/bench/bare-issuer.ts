/**
 * The least that an issuer can be: node:https that reads a body, verifies one ES256, signs one and answers as many bytes
 * as a token takes. Nothing is parsed, looked up, stored or logged. What the authority takes more is its own.
 */
import { createPublicKey, sign, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { DEVICE_KEY_FILE } from "./installation.ts";
import { generatePrivateKey } from "../../shared/es256.ts";

/** Verifies the first 64 bytes of the body as a signature over the rest, then signs. */
export const VERIFY_AND_SIGN = "/verify-and-sign";
/** Signs and looks at nothing. */
export const SIGN = "/sign";
/** Looks the body up in a Map and answers as many bytes as an introspection takes. */
export const LOOK_UP = "/look-up";

const answerBytes = 250;
const signatureBytes = 64;
const encoding = "ieee-p1363" as const;

export async function startBareIssuer(dataDir: string): Promise<{ httpPort: number; close(): Promise<void> }> {
  const read = (name: string): Buffer => readFileSync(join(dataDir, name));
  const deviceKey = { key: createPublicKey(read(DEVICE_KEY_FILE)), dsaEncoding: encoding };
  const issuerKey = { key: generatePrivateKey(), dsaEncoding: encoding };
  const tls = { key: read("server.key"), cert: read("server.pem"), noDelay: true, keepAliveTimeout: 60_000 };

  const known = new Map<string, Buffer>();
  const unknown = Buffer.alloc(answerBytes, 0x61);

  const server = createServer(tls, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      if (request.url === LOOK_UP) {
        const found = known.get(body.toString("latin1")) ?? unknown;
        response.writeHead(200, { "content-type": "application/json", "content-length": found.length });
        response.end(found);
        return;
      }
      const isGood =
        request.url === SIGN ||
        verify("sha256", body.subarray(signatureBytes), deviceKey, body.subarray(0, signatureBytes));
      const answer = Buffer.alloc(answerBytes, 0x61);
      sign("sha256", answer.subarray(signatureBytes), issuerKey).copy(answer);
      response.writeHead(isGood ? 200 : 401, {
        "content-type": "application/octet-stream",
        "content-length": answer.length,
      });
      response.end(answer);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { httpPort: port, close };
}
