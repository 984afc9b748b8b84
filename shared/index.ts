/**
 * `postern/shared`: the codecs that both ends agree on, for programs that speak to an authority or a broker themselves.
 */
export * from "./ace.ts";
export * from "./assertion.ts";
export * from "./base64url.ts";
export { decode, encode, Tag, type Cbor, type CborMap, type DecodeOptions } from "./cbor.ts";
export * from "./claims.ts";
export * from "./cose.ts";
export * from "./cose-key.ts";
export * from "./cwt.ts";
export * from "./deterministic-signer.ts";
export * from "./dpop.ts";
export * from "./es256.ts";
export * from "./introspection.ts";
export { mintJwt, signJwt } from "./jwt.ts";
export * from "./names.ts";
export * from "./proof.ts";
export * from "./refusal.ts";
export * from "./scope.ts";
export * from "./ticket.ts";
export * from "./token.ts";
export * from "./topic.ts";
export * from "./trl.ts";
