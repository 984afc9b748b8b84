/** The signature algorithms of lists that are read here, as a whole AlgorithmIdentifier in DER (RFC 4055, RFC 5758). */

/** How a signature is verified. */
export interface CrlAlgorithm {
  /** As node names the type of a key. */
  readonly keyType: "ec" | "rsa";
  readonly hash: "sha256" | "sha384" | "sha512";
}

const algorithms: Readonly<Record<string, CrlAlgorithm>> = {
  // ecdsa-with-SHA256, -SHA384, -SHA512: no parameters
  "300a06082a8648ce3d040302": { keyType: "ec", hash: "sha256" },
  "300a06082a8648ce3d040303": { keyType: "ec", hash: "sha384" },
  "300a06082a8648ce3d040304": { keyType: "ec", hash: "sha512" },
  // sha256-, sha384-, sha512WithRSAEncryption: parameters NULL
  "300d06092a864886f70d01010b0500": { keyType: "rsa", hash: "sha256" },
  "300d06092a864886f70d01010c0500": { keyType: "rsa", hash: "sha384" },
  "300d06092a864886f70d01010d0500": { keyType: "rsa", hash: "sha512" },
};

/** The algorithm that this identifier names; undefined for any other. */
export function findAlgorithm(identifier: Uint8Array): CrlAlgorithm | undefined {
  return identifier.length > 20 ? undefined : algorithms[Buffer.from(identifier).toString("hex")];
}
