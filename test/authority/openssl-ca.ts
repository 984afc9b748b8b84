/** An authority that OpenSSL runs: it certifies, revokes and gives out lists, as authorities elsewhere do. */
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface OpensslCa {
  readonly pem: string;
  /** Puts a serial number (hex, an even number of digits) on its list. */
  revoke(serial: string, reason?: string): void;
  /** A list in PEM. */
  makeList(options?: { readonly v1?: boolean; readonly hours?: number; readonly digest?: string }): string;
  /** A device certificate in PEM. */
  issue(clientId: string, serial: string): string;
}

const keys = {
  p256: ["ecparam", "-name", "prime256v1", "-genkey", "-noout"],
  p384: ["ecparam", "-name", "secp384r1", "-genkey", "-noout"],
  rsa: ["genrsa", "2048"],
  ed25519: ["genpkey", "-algorithm", "ed25519"],
} as const;

/** Opens one in a directory of its own. `usage`: what its certificate lets its key do. */
export function openOpensslCa(
  directory: string,
  key: keyof typeof keys = "p256",
  usage = "keyCertSign,cRLSign",
): OpensslCa {
  mkdirSync(directory);
  const file = (name: string): string => join(directory, name);
  const openssl = (...args: readonly string[]): string =>
    execFileSync("openssl", args, { cwd: directory, encoding: "utf8", stdio: "pipe" });
  writeFileSync(
    file("ca.cnf"),
    `[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\ndefault_crl_hours=24\n
     [list]\nauthorityKeyIdentifier=keyid\n
     [req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=Plant CA\n
     [authority]\nbasicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash\n${usage === "" ? "" : `keyUsage=critical,${usage}`}\n`,
  );
  writeFileSync(file("index.txt"), "");
  writeFileSync(file("number"), "0A\n");
  writeFileSync(file("ca.key"), openssl(...keys[key]));
  const request = ["-new", "-x509", "-key", "ca.key", "-config", "ca.cnf", "-extensions", "authority"];
  openssl("req", ...request, "-days", "3650", "-out", "ca.pem");
  return {
    pem: readFileSync(file("ca.pem"), "utf8"),
    revoke(serial, reason) {
      const ended = reason === undefined ? "260101000000Z" : `260101000000Z,${reason}`;
      appendFileSync(file("index.txt"), `R\t491231235959Z\t${ended}\t${serial}\tunknown\t/CN=${serial}\n`);
    },
    makeList({ v1 = false, hours = 24, digest = "sha256" } = {}) {
      // without a section of extensions, and without a number, it writes version 1
      const config = readFileSync(file("ca.cnf"), "utf8");
      writeFileSync(file("v1.cnf"), config.replace("crlnumber=number\n", ""));
      const form = v1 ? ["-config", "v1.cnf"] : ["-config", "ca.cnf", "-crlexts", "list"];
      const args = [
        "-keyfile",
        "ca.key",
        "-cert",
        "ca.pem",
        "-md",
        digest,
        "-crlhours",
        String(hours),
        "-out",
        "list.pem",
      ];
      openssl("ca", "-gencrl", ...form, ...args);
      return readFileSync(file("list.pem"), "utf8");
    },
    issue(clientId, serial) {
      writeFileSync(
        file("device.cnf"),
        `[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=${clientId}\n
         [device]\nextendedKeyUsage=clientAuth\nsubjectAltName=URI:urn:postern:client:${clientId}\n`,
      );
      writeFileSync(file("device.key"), openssl(...keys.p256));
      openssl("req", "-new", "-key", "device.key", "-config", "device.cnf", "-out", "device.csr");
      const signer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", `0x${serial}`];
      const extensions = ["-extfile", "device.cnf", "-extensions", "device"];
      openssl("x509", "-req", "-in", "device.csr", ...signer, ...extensions, "-days", "90", "-out", "device.pem");
      return readFileSync(file("device.pem"), "utf8");
    },
  };
}
