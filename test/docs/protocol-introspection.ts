/**
 * Introspection as docs/protocol.md shows it: about the tokens that the document shows elsewhere, a minute after they were
 * given out.
 */
import { signAnswer } from "../../broker/authority/oauth/signed-answer.ts";
import {
  encodeIntrospection,
  encodeIntrospectionRequest,
  toIntrospectionJson,
  type ActiveToken,
} from "../../shared/introspection.ts";
import { dump, explainCbor, type Shape } from "./hexdump.ts";
import { claims, cwt, issuer, now, signer } from "./protocol-example.ts";
import { introspectionShape } from "./protocol-shapes.ts";

const time = now + 60;
const found: ActiveToken = { active: true, claims, tokenType: "pop", time };
const { cnf: _bound, ...unbound } = claims;
const http: ActiveToken = {
  active: true,
  claims: { ...unbound, sub: "shop.cart", aud: "shop.orders", scope: "read write" },
  tokenType: "Bearer",
  time,
};
const requestShape: Shape = { map: { "11": { says: "token" } } };

/** The blocks of the section, by name. */
export function introspectionBlocks(describeJwt: (text: string) => string): [name: string, content: string][] {
  const explain = (bytes: Uint8Array, shape: Shape): string => dump(explainCbor(bytes, shape));
  const signed = signAnswer({ issuer, nowSeconds: time, signer }, http, "shop/orders");
  return [
    ["introspection.request", explain(encodeIntrospectionRequest({ token: cwt }), requestShape)],
    ["introspection.json", JSON.stringify(toIntrospectionJson(http), null, 2)],
    ["introspection.cbor", explain(encodeIntrospection(found), introspectionShape)],
    [
      "introspection.inactive",
      [
        JSON.stringify(toIntrospectionJson({ active: false })),
        explain(encodeIntrospection({ active: false }), introspectionShape),
      ].join("\n\n"),
    ],
    ["introspection.signed", describeJwt(signed)],
  ];
}
