/** The rows of `/v1` by which somebody becomes a developer, logs in, and gets a new password, for the table of routes. */
import type { z } from "zod";
import { endLogin } from "../../registry/logins.ts";
import { assertLogin } from "../v1/access.ts";
import { toDeveloper, type answeredOfAccounts, type sentOfAccounts } from "./account-bodies.ts";
import { logIn } from "./log-in.ts";
import { askReset, confirm, register, reset } from "./register.ts";
import { Accepted, type Route } from "../v1/registry-route.ts";
import { expiry } from "../v1/times.ts";

type Sent<K extends keyof typeof sentOfAccounts> = z.output<(typeof sentOfAccounts)[K]>;

/** The same for whoever has an account and whoever has none. */
const mailSent: z.output<(typeof answeredOfAccounts)["MailSent"]> = { status: "mail-sent" };

/** Strangers, as far as the settings let them. */
export const accountRoutes: readonly Route[] = [
  {
    method: "POST",
    path: "/v1/developers",
    access: "anyone",
    says: "register: by a code that is sent to the address, or at once with an invitation",
    sends: "Registration",
    answers: "Developer",
    accepts: "MailSent",
    locate: (answer) => (answer as { id: string }).id,
    run: async (context, { body }) => {
      const developer = await register(context, body as Sent<"Registration">);
      return developer === undefined ? new Accepted(mailSent) : toDeveloper(developer);
    },
  },
  {
    method: "POST",
    path: "/v1/developers/confirm",
    access: "anyone",
    says: "prove the address with the code and the password that was registered",
    sends: "Confirmation",
    run: (context, { body }) => confirm(context, body as Sent<"Confirmation">),
  },
  {
    method: "POST",
    path: "/v1/login",
    access: "anyone",
    says: "log in: the token is good for 12 hours after its last use, and for 7 days",
    sends: "LoginRequest",
    answers: "Login",
    run: async (context, { body }) => {
      const { token, expiresAt, developer } = await logIn(context, body as Sent<"LoginRequest">);
      return { token, ...expiry(expiresAt), developer: toDeveloper(developer) };
    },
  },
  {
    method: "POST",
    path: "/v1/logout",
    access: "login",
    says: "end the login that asks",
    run: ({ registry, principal, actor }) => endLogin(registry, assertLogin(principal).login, actor),
  },
  {
    method: "POST",
    path: "/v1/password-reset",
    access: "anyone",
    says: "ask for a code for a new password",
    sends: "ResetRequest",
    accepts: "MailSent",
    run: (context, { body }) => {
      askReset(context, (body as Sent<"ResetRequest">).email);
      return new Accepted(mailSent);
    },
  },
  {
    method: "POST",
    path: "/v1/password-reset/confirm",
    access: "anyone",
    says: "set a new password with the code; all logins end",
    sends: "Reset",
    run: (context, { body }) => reset(context, body as Sent<"Reset">),
  },
];
