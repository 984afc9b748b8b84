/**
 * A device without our agent: enrolled and given a token by openssl and curl from what `postern ticket create --json` says,
 * and connected by mosquitto_pub (RFC 7030, RFC 9200, RFC 9431). The steps build on each other, top-down.
 */
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect } from "vitest";
import { asMap, decode } from "../../shared/cbor.ts";
import { encodeTokenRequest } from "../../shared/ace.ts";
import { parsePermission } from "../../shared/scope.ts";
import { testWith } from "../peers.ts";
import { makeFolder, openInstallation, posternJson, run, shell, startPostern } from "./fixture.ts";
import type { Installation, Running } from "./fixture.ts";

let installation: Installation;
let folder: string;
let reader: Running;
let env: Record<string, string>;

beforeAll(async () => {
  installation = await openInstallation();
  await installation.json("project create acme");
  await installation.json("api create telemetry --project acme --kind mqtt --topics acme/#");
  await installation.json("role create sensor --project acme --api telemetry --allow pub:acme/${name}/#");
  await installation.json("role create reader --project acme --api telemetry --allow sub:acme/#");
  await installation.json("client create probe --project acme --kind device --role sensor");
  await installation.json("client create desk --project acme --kind device --role reader");
  reader = startPostern(`agent subscribe acme/# --json --dir ${await installation.enrol("acme.desk")}`);
  await reader.stderr.next(/^subscribed/);
  folder = makeFolder();
  const ticket = await installation.json("ticket create --client acme.probe");
  env = {
    AUTHORITY: ticket.authority,
    PIN: ticket.pin,
    SECRET: ticket.secret,
    PORT: String(installation.port.mqtts),
    // answers, with the status on a line of its own
    CURL: "curl --silent --show-error --max-time 10 --write-out \\n%{http_code}",
  };
});

const sh = (script: string, more: Record<string, string> = {}): Promise<string> =>
  shell(folder, script, { ...env, ...more });
const file = (name: string): string => join(folder, name);
const fingerprint = (der: Uint8Array): string => createHash("sha256").update(der).digest("hex");

/** Publishes with what mosquitto_pub is given beside the address. */
async function publish(credential: string, topic: string, message: string, clientId = "acme.probe") {
  const args = ["-h", "localhost", "-p", env["PORT"]!, "--cafile", "ca.pem", "-i", clientId, "-q", "1"];
  return run("mosquitto_pub", [...args, "-t", topic, "-m", message, ...credential.split(" ").filter(Boolean)], {
    cwd: folder,
  });
}

describe("enrolment with openssl and curl", () => {
  testWith(["openssl", "curl"], "fetches the CA without trust and checks it against the ticket's pin", async () => {
    const pin = await sh(`
      curl --silent --show-error --fail --insecure "$AUTHORITY/.well-known/est/cacerts" | openssl base64 -d -A >ca.p7
      openssl pkcs7 -inform DER -in ca.p7 -print_certs -out ca.pem
      openssl x509 -in ca.pem -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r | cut -d' ' -f1
    `);
    expect(pin).toBe(env["PIN"]);
    const ca = new X509Certificate(readFileSync(file("ca.pem")));
    expect(fingerprint(ca.raw)).toBe(fingerprint(new X509Certificate(readFileSync(installation.ready.ca)).raw));
  });

  testWith(["openssl", "curl"], "refuses a wrong secret, and needs one", async () => {
    await sh(`
      openssl ecparam -name prime256v1 -genkey -noout -out key.pem
      openssl req -new -key key.pem -subj "/CN=acme.boss/O=Acme" -addext "subjectAltName=URI:urn:postern:client:acme.boss,DNS:localhost" -outform DER | openssl base64 -A >csr.b64
    `);
    const enrol = (user: string): Promise<string> =>
      sh(
        `$CURL --cacert ca.pem ${user} -H 'Content-Type: application/pkcs10' -H 'Content-Transfer-Encoding: base64' \
          --data-binary @csr.b64 "$AUTHORITY/.well-known/est/simpleenroll"`,
      );
    expect(await enrol('-u ":not-the-secret-of-this-ticket"')).toMatch(/\n401$/);
    expect(await enrol("")).toMatch(/\n401$/);
    expect(await installation.json("cert list --client acme.probe")).toEqual([]);
  });

  testWith(["openssl", "curl"], "takes the key and nothing else from the request", async () => {
    await sh(`
      curl --silent --show-error --fail --cacert ca.pem -u ":$SECRET" -H 'Content-Type: application/pkcs10' \
        --data-binary @csr.b64 "$AUTHORITY/.well-known/est/simpleenroll" | openssl base64 -d -A >certificate.p7
      openssl pkcs7 -inform DER -in certificate.p7 -print_certs -out certificate.pem
      openssl verify -CAfile ca.pem -purpose sslclient -x509_strict certificate.pem
    `);
    const certificate = new X509Certificate(readFileSync(file("certificate.pem")));
    expect([certificate.subject, certificate.subjectAltName]).toEqual([
      "CN=acme.probe",
      "URI:urn:postern:client:acme.probe",
    ]);
    expect(await sh("openssl x509 -in certificate.pem -noout -pubkey")).toBe(
      await sh("openssl pkey -in key.pem -pubout"),
    );
    const answer = await sh("openssl pkcs7 -inform DER -in certificate.p7 -noout -print");
    expect(answer).toContain("pkcs7-signedData");
    // certs-only (RFC 5652, section 5.1): nothing signed and nobody signs
    expect(answer.replaceAll(/\s+/g, " ")).toContain("signer_info: <EMPTY>");
    const [listed] = await installation.json("cert list --client acme.probe");
    expect(listed.serial.toLowerCase()).toBe(certificate.serialNumber.toLowerCase());
  });

  testWith(["openssl", "curl"], "answers the same key again, and no other", async () => {
    const again = `$CURL --output /dev/null --cacert ca.pem -u ":$SECRET" -H 'Content-Type: application/pkcs10' \
      --data-binary @"$CSR" "$AUTHORITY/.well-known/est/simpleenroll"`;
    expect(await sh(again, { CSR: "csr.b64" })).toMatch(/200$/);
    await sh(`
      openssl ecparam -name prime256v1 -genkey -noout -out other.pem
      openssl req -new -key other.pem -subj "/CN=x" -outform DER | openssl base64 -A >other.b64
    `);
    expect(await sh(again, { CSR: "other.b64" })).toMatch(/401$/);
  });

  testWith(["openssl", "curl"], "renews the certificate, also for another key", async () => {
    await sh(`
      openssl ecparam -name prime256v1 -genkey -noout -out next.pem
      openssl req -new -key next.pem -subj "/CN=acme.probe" -outform DER | openssl base64 -A >next.b64
      curl --silent --show-error --fail --cacert ca.pem --cert certificate.pem --key key.pem \
        -H 'Content-Type: application/pkcs10' --data-binary @next.b64 \
        "$AUTHORITY/.well-known/est/simplereenroll" | openssl base64 -d -A |
        openssl pkcs7 -inform DER -print_certs -out next-certificate.pem
      openssl verify -CAfile ca.pem -purpose sslclient next-certificate.pem
    `);
    const certificate = new X509Certificate(readFileSync(file("next-certificate.pem")));
    expect(certificate.subject).toBe("CN=acme.probe");
    expect(await sh("openssl x509 -in next-certificate.pem -noout -pubkey")).toBe(
      await sh("openssl pkey -in next.pem -pubout"),
    );
    expect(
      await sh(`$CURL --cacert ca.pem -H 'Content-Type: application/pkcs10' --data-binary @next.b64 \
        "$AUTHORITY/.well-known/est/simplereenroll"`),
    ).toMatch(/\n401$/);
    // RFC 7030, section 4.2.2: the subject stays what it is
    await sh('openssl req -new -key next.pem -subj "/CN=acme.desk" -outform DER | openssl base64 -A >foreign.b64');
    expect(
      await sh(`$CURL --cacert ca.pem --cert certificate.pem --key key.pem -H 'Content-Type: application/pkcs10' \
        --data-binary @foreign.b64 "$AUTHORITY/.well-known/est/simplereenroll"`),
    ).toMatch(/\n400$/);
  });
});

describe("a token by curl", () => {
  const request = (name: string, body: Uint8Array): string => {
    writeFileSync(file(name), body);
    return `$CURL --cacert ca.pem -H 'Content-Type: application/ace+cbor' --data-binary @${name} --output answer.cbor`;
  };
  const answer = () => asMap(decode(readFileSync(file("answer.cbor"))));

  testWith(["openssl", "curl"], "comes for the certificate, in CBOR, bound to its key", async () => {
    // {5: "acme.telemetry", 33: 2}: audience, grant type client_credentials
    const body = Buffer.from("a2056e61636d652e74656c656d65747279182102", "hex");
    const script = request("request.cbor", body);
    expect(await sh(`${script} --cert certificate.pem --key key.pem "$AUTHORITY/token"`)).toMatch(/200$/);
    const members = answer();
    expect(new Set(members.keys())).toEqual(new Set([1, 2, 9, 34]));
    expect([members.get(2), members.get(34)]).toEqual([3600, 2]);
    const token = Buffer.from(members.get(1) as Uint8Array);
    writeFileSync(file("token"), token.toString("base64url"));
    expect(await posternJson(`token inspect ${token.toString("base64url")}`)).toMatchObject({
      format: "cwt",
      claims: { sub: "acme.probe", aud: "acme.telemetry", iss: env["AUTHORITY"] },
      confirmation: { kind: "key" },
      allows: ["pub:acme/probe/#"],
    });
  });

  testWith(["openssl", "curl"], "is refused without the certificate, in CBOR", async () => {
    const script = request("request.cbor", Buffer.from("a2056e61636d652e74656c656d65747279182102", "hex"));
    expect(await sh(`${script} "$AUTHORITY/token"`)).toMatch(/401$/);
    // 30: error, 2: invalid_client (RFC 9200, table 3)
    expect(answer().get(30)).toBe(2);
  });

  testWith(["openssl", "curl"], "for less than the role allows goes to authz-info later", async () => {
    const scope = [parsePermission("pub:acme/probe/narrow")];
    const script = request("narrow.cbor", encodeTokenRequest({ audience: "acme.telemetry", scope }));
    expect(await sh(`${script} --cert next-certificate.pem --key next.pem "$AUTHORITY/token"`)).toMatch(/200$/);
    writeFileSync(file("narrow.cwt"), answer().get(1) as Uint8Array);
  });
});

describe("mosquitto_pub", () => {
  const peers = ["openssl", "curl", "mosquitto_pub"];
  const withCertificate = "--cert certificate.pem --key key.pem";
  const token = (): string => readFileSync(file("token"), "utf8");

  testWith(peers, "publishes with the certificate alone what its roles allow", async () => {
    expect(await publish(withCertificate, "acme/probe/state", "by role")).toMatchObject({ exitCode: 0 });
    expect(await reader.stdout.json()).toMatchObject({ topic: "acme/probe/state", payload: "by role" });
    expect((await publish(withCertificate, "acme/desk/state", "forbidden")).exitCode).not.toBe(0);
  });

  testWith(peers, "publishes with the token and the certificate", async () => {
    const credential = `${withCertificate} -u ace${token()}`;
    expect(await publish(credential, "acme/probe/state", "by token")).toMatchObject({ exitCode: 0 });
    expect(await reader.stdout.json()).toMatchObject({ payload: "by token" });
    expect(await publish(credential, "acme/probe/state", "suffixed", "acme.probe:second")).toMatchObject({
      exitCode: 0,
    });
    expect(await reader.stdout.json()).toMatchObject({ payload: "suffixed" });
    expect((await publish(credential, "acme/desk/state", "forbidden")).exitCode).not.toBe(0);
  });

  testWith(peers, "is not let in with the token alone, another's certificate or another's client id", async () => {
    const refused = (code: 4 | 5): object => ({ exitCode: code, stderr: expect.stringContaining("Connection") });
    expect(await publish(`-u ace${token()}`, "acme/probe/state", "x")).toMatchObject(refused(4));
    const otherKey = "--cert next-certificate.pem --key next.pem";
    expect(await publish(`${otherKey} -u ace${token()}`, "acme/probe/state", "x")).toMatchObject(refused(4));
    const credential = `${withCertificate} -u ace${token()}`;
    expect(await publish(credential, "acme/probe/state", "x", "acme.desk")).toMatchObject(refused(5));
    expect(await publish(withCertificate, "acme/probe/state", "x", "acme.probes")).toMatchObject(refused(5));
  });

  testWith(peers, "puts a token on authz-info as nobody, and later the certificate alone has its rights", async () => {
    const args = ["-h", "localhost", "-p", env["PORT"]!, "--cafile", "ca.pem", "-q", "1"];
    const put = await run("mosquitto_pub", [...args, "-t", "authz-info", "-f", "narrow.cwt"], { cwd: folder });
    expect(put).toMatchObject({ exitCode: 0, stderr: "" });
    const credential = "--cert next-certificate.pem --key next.pem";
    expect(await publish(credential, "acme/probe/narrow", "narrow")).toMatchObject({ exitCode: 0 });
    expect(await reader.stdout.json()).toMatchObject({ topic: "acme/probe/narrow", payload: "narrow" });
    expect((await publish(credential, "acme/probe/state", "forbidden")).exitCode).not.toBe(0);
    // nobody may do nothing else
    expect(
      (await run("mosquitto_pub", [...args, "-t", "acme/probe/narrow", "-m", "x"], { cwd: folder })).exitCode,
    ).not.toBe(0);
    expect(reader.stdout.text).not.toContain("forbidden");
  });
});
