/** Published test keys: RFC 8392 A.2.3 (the issuer) and RFC 6979 A.2.5 (the client). */
import { createDeterministicSigner } from "../../shared/deterministic-signer.ts";
import { unhex } from "./reading.ts";

export const issuerSigner = createDeterministicSigner(
  "AsymmetricECDSA256",
  unhex("6c1382765aec5358f117733d281c1c7bdc39884d04a45a1e6c67c858bc206c19"),
);
export const clientSigner = createDeterministicSigner(
  "client",
  unhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"),
);
