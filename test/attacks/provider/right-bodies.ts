/** For each schema of what `/v1` takes: a body that has every field, and one that the registry does what it says for. */
import { createCode } from "../../../broker/registry/account-codes.ts";
import type { sent } from "../../../broker/authority/v1/registry-bodies.ts";
import { addUnconfirmed } from "../../../broker/registry/developers.ts";
import { createInvitation } from "../../../broker/registry/invitations.ts";
import { toJwk } from "../../../shared/cose-key.ts";
import { cheapHash, PASSWORD } from "../../authority/accounts-fixture.ts";
import { makeAuthority, makeCrl } from "../../authority/crl-maker.ts";
import { makeKey } from "../../authority/fixture.ts";
import type { Ground } from "./ground.ts";

/** One schema's. */
export interface Right {
  /** Every field, each by itself as it may be; together they need not go. */
  readonly full: Readonly<Record<string, unknown>>;
  /** What is done, and the status then. */
  readonly good: (at: Ground) => object | Promise<object>;
  readonly status: number;
}

const email = "somebody@new.test";
const password = "correct horse battery";
const invitation = `pi1_${"A".repeat(32)}`;
const code = "0123456789";
const jwk = toJwk(makeKey().key);

function invite({ registry }: Ground, address: string, project?: string): string {
  const place = project === undefined ? undefined : ({ project, role: "auditor" } as const);
  return createInvitation(registry, { email: address, place }, { inviter: "admin", actor: "admin" }).secret;
}

const newSecret: Right = { full: { ttl_seconds: 3600, idle_seconds: 86_400 }, good: () => ({}), status: 201 };

/** A schema without a row does not compile. */
export const right = {
  Registration: {
    full: { email, password, name: "Some Body", invitation },
    good: (at) => ({ email, password, name: "Some Body", invitation: invite(at, email) }),
    status: 201,
  },
  Confirmation: {
    full: { email, code, password },
    good: ({ registry }) => {
      const address = "later@new.test";
      const passwordHash = cheapHash(password);
      const given = registry.append(() => {
        const { id } = addUnconfirmed(registry, { email: address, name: "", passwordHash })!;
        return createCode(registry, id, "confirm");
      });
      return { email: address, code: given, password };
    },
    status: 204,
  },
  LoginRequest: {
    full: { email, password },
    good: ({ owner }) => ({ email: owner.email, password: PASSWORD }),
    status: 200,
  },
  PasswordChange: {
    full: { password, new_password: "another horse battery" },
    good: () => ({ password: PASSWORD, new_password: "another horse battery" }),
    status: 204,
  },
  PasswordProof: {
    full: { password },
    // farm would be left without an owner: whoever hears that has proven the password
    good: () => ({ password: "another horse battery" }),
    status: 409,
  },
  ResetRequest: { full: { email }, good: () => ({ email }), status: 202 },
  Reset: {
    full: { email, code, password },
    good: ({ registry, keeper }) => ({
      email: keeper.email,
      code: registry.append(() => createCode(registry, keeper.id, "reset")),
      password: "another horse battery",
    }),
    status: 204,
  },
  NewApiKey: {
    full: { name: "ci", scopes: ["read"], project: "farm", ttl_seconds: 3600 },
    good: () => ({ name: "ci", scopes: ["read"], project: "farm", ttl_seconds: 3600 }),
    status: 201,
  },
  NewInvitation: { full: { email }, good: () => ({ email: "one@new.test" }), status: 201 },
  NewProjectInvitation: {
    full: { email, role: "admin" },
    good: () => ({ email: "two@new.test", role: "admin" }),
    status: 201,
  },
  Acceptance: { full: { invitation }, good: (at) => ({ invitation: invite(at, at.owner.email, "zoo") }), status: 200 },
  MemberChange: { full: { role: "owner" }, good: () => ({ role: "owner" }), status: 200 },

  NewProject: { full: { slug: "barn" }, good: () => ({ slug: "barn" }), status: 201 },
  NewApi: {
    full: {
      name: "more",
      kind: "http",
      audience: "farm.more",
      topics: ["t/#"],
      scopes: ["read"],
      ttl_seconds: 60,
      format: "jwt",
      bearer: true,
      purge: "never",
    },
    good: () => ({ name: "more", kind: "http", scopes: ["read"] }),
    status: 201,
  },
  NewRole: {
    full: { name: "more", api: "own-api", permissions: ["pub:t/#"], scopes: ["read"] },
    good: () => ({ name: "more", api: "own-api", scopes: ["read"] }),
    status: 201,
  },
  RoleContents: {
    full: { api: "own-api", permissions: ["pub:t/#"], scopes: ["read"] },
    good: () => ({ scopes: ["read", "write"] }),
    status: 200,
  },
  NewClient: {
    full: { name: "more", kind: "service", roles: ["own-role"], keys: [jwk] },
    good: () => ({ name: "more", kind: "service", roles: ["own-role"], keys: [jwk] }),
    status: 201,
  },
  ClientChange: {
    full: { enabled: true, roles: ["own-role"] },
    good: () => ({ enabled: true, roles: ["own-role"] }),
    status: 200,
  },
  NewTicket: {
    full: { client: "own-client", uses: 1, roles: ["own-role"], ttl_seconds: 60 },
    good: () => ({ uses: 2, roles: ["own-role"], ttl_seconds: 60 }),
    status: 201,
  },
  NewSecret: newSecret,
  PublicKeys: { full: { keys: [jwk] }, good: () => ({ keys: [toJwk(makeKey().key)] }), status: 200 },
  NewBrokerTicket: {
    full: { hosts: ["edge.test"], ttl_seconds: 60 },
    good: () => ({ hosts: ["edge.test", "::1"], ttl_seconds: 60 }),
    status: 201,
  },
  NewDeviceAuthority: {
    full: { name: "more", ca: "-----BEGIN CERTIFICATE-----", needs_crl: true },
    good: async () => ({ name: "more", ca: (await makeAuthority()).ca.caPem, needs_crl: true }),
    status: 201,
  },
  RevocationList: {
    full: { crl: "-----BEGIN X509 CRL-----" },
    good: ({ elsewhere }) => ({ crl: makeCrl(elsewhere).toString("base64") }),
    status: 200,
  },
  Revocations: {
    full: {
      tokens: ["ab".repeat(32)],
      certificates: ["0b"],
      clients: ["farm.own-client"],
      keys: ["kid"],
      projects: [{ project: "farm", before: 1 }],
    },
    good: () => ({ clients: ["zoo.their-client"], projects: [{ project: "zoo", before: "now" }] }),
    status: 200,
  },
  ProjectRevocations: {
    full: { tokens: ["ab".repeat(32)], certificates: ["0b"], clients: ["farm.own-client"], before: "now" },
    good: () => ({ clients: ["farm.own-client"], before: 1 }),
    status: 200,
  },
} as const satisfies Record<keyof typeof sent, Right>;
