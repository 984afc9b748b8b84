/**
 * `postern/verify`: for the provider's own program, which verifies the tokens that its consumers bring.
 */
export { meaningOf, Refusal, type Reason } from "../shared/refusal.ts";
export type { Grant } from "../shared/scope.ts";
export { mayPublish, maySubscribe } from "../shared/scope.ts";
export { protectExpress, type ExpressRequest } from "./express.ts";
export { protectFastify, type FastifyReplyLike, type FastifyRequestLike } from "./fastify.ts";
export { protectHono, type HonoContext } from "./hono.ts";
export type { IncomingHttp } from "./http-credential.ts";
export { createGuard, principalOf, type Decision, type ProtectOptions } from "./http-guard.ts";
export type { HttpAnswer } from "./http-refusal.ts";
export { protect, type NodeHandler, type NodeRequest, type NodeResponse } from "./node-http.ts";
export type { Mode, VerifierLog, VerifierOptions, WhenUnreachable } from "./options.ts";
export type { ApiCredential, ApiKey, ApiSecret } from "./own-credential.ts";
export type { Presentation } from "./possession.ts";
export type { Binding, ObjectRule, Principal, PrincipalBase, VerifiedBy } from "./principal.ts";
export { createVerifier, type Verifier, type VerifierStatus, type VerifyRequest } from "./verifier.ts";
export type { OnEnd } from "./watches.ts";
