/**
 * What the items of our CBOR messages mean, for the dumps in docs/protocol.md. Names are those of the standards.
 */
import type { Shape } from "./hexdump.ts";

export const grantShape: Shape = { each: { items: [{ says: "topic filter" }, { each: { says: "permission" } }] } };
export const coseKeyShape: Shape = {
  map: {
    "1": { says: "kty: EC2" },
    "2": { says: "kid" },
    "3": { says: "alg: ES256" },
    "-1": { says: "crv: P-256" },
    "-2": { says: "x" },
    "-3": { says: "y: true is the odd point, false the even one" },
  },
};
export const uncompressedShape: Shape = { map: { ...coseKeyShape.map, "-3": { says: "y" } } };
const cnfShape: Shape = { map: { "1": { says: "COSE_Key", ...coseKeyShape } } };
const claimsShape: Shape = {
  map: {
    "1": { says: "iss" },
    "2": { says: "sub" },
    "3": { says: "aud" },
    "4": { says: "exp" },
    "6": { says: "iat" },
    "7": { says: "cti: of an access token, its number" },
    "8": { says: "cnf", ...cnfShape },
    "9": { says: "scope", inner: grantShape },
  },
};
export const cwtShape: Shape = {
  items: [
    { inner: { map: { "1": { says: "alg: ES256" }, "4": { says: "kid" } } } },
    { says: "unprotected header, always empty" },
    { inner: claimsShape },
    { says: "signature, r then s" },
  ],
};
export const requestShape: Shape = {
  map: {
    "4": { says: "req_cnf", ...cnfShape },
    "5": { says: "audience" },
    "9": { says: "scope", inner: grantShape },
    "24": { says: "client_id" },
    "33": { says: "grant_type: client_credentials" },
    "38": { says: "ace_profile: name it in the answer" },
    "-65537": { says: "client_assertion", inner: cwtShape },
  },
};
export const responseShape: Shape = {
  map: {
    "1": { says: "access_token" },
    "2": { says: "expires_in" },
    "9": { says: "scope", inner: grantShape },
    "34": { says: "token_type: 2 pop, 1 bearer" },
    "38": { says: "ace_profile: mqtt_tls" },
  },
};
export const introspectionShape: Shape = {
  map: {
    ...claimsShape.map,
    "10": { says: "active" },
    "24": { says: "client_id" },
    "34": { says: "token_type: 2 pop, 1 bearer" },
    "-65538": { says: "time at the authority" },
    "-65539": { says: "expires_in" },
  },
};
export const errorShape: Shape = { map: { "30": { says: "error" }, "31": { says: "error_description" } } };
