/**
 * What developers are written: codes, invitations, and what happened to their account. Plain text; nothing in it was chosen
 * by anybody but the operator and whoever proved the address that is named.
 */
import type { Invitation } from "../../registry/invitations.ts";
import type { Mail } from "../context.ts";

/** Who the mail speaks for. */
interface Sender {
  readonly issuer: string;
}

/** The code that proves an address. */
export function confirmationMail({ issuer }: Sender, to: string, code: string): Mail {
  return {
    to,
    subject: "Your code to confirm your address",
    text: `Somebody, probably you, has registered this address at ${issuer}.

Your code is ${code}

It is good for 15 minutes, together with the password that was chosen there. If it was not you, there is nothing to do:
without the code the account comes to nothing.
`,
  };
}

/** To whoever has an account already and is registered once more. */
export function knownAddressMail({ issuer }: Sender, to: string): Mail {
  return {
    to,
    subject: "You have an account already",
    text: `Somebody, probably you, has tried to register this address at ${issuer}.

You have an account there already, and it is as it was. Log in with it, or ask for a new password if you have forgotten yours.
If it was not you, there is nothing to do.
`,
  };
}

/** The code for a new password. */
export function resetMail({ issuer }: Sender, to: string, code: string): Mail {
  return {
    to,
    subject: "Your code for a new password",
    text: `Somebody, probably you, has asked for a new password for this address at ${issuer}.

Your code is ${code}

It is good for 15 minutes. If it was not you, there is nothing to do: your password is as it was.
`,
  };
}

/** After a password was changed or reset. */
export function passwordChangedMail({ issuer }: Sender, to: string): Mail {
  return {
    to,
    subject: "Your password was changed",
    text: `The password of your account at ${issuer} was changed, and other logins have ended. Your API keys are as they were.

If it was not you, ask for a new password now, then look through your API keys and revoke those that you do not know.
`,
  };
}

/** An invitation and its secret. `inviter` is an address, or nothing for the administrator. */
export function invitationMail(
  { issuer }: Sender,
  { email, project, role }: Invitation,
  secret: string,
  inviter: string | undefined,
): Mail {
  const who = inviter ?? "The administrator";
  const what = project === null ? "" : ` and to be ${role} of the project ${project}`;
  return {
    to: email,
    subject: project === null ? "You are invited to register" : `You are invited to the project ${project}`,
    text: `${who} invites you to register as a developer at ${issuer}${what}.

Your invitation is ${secret}

It is for this address, good for seven days and for one use: register with it, or log in and accept it if you have an account.
If you do not know what this is about, there is nothing to do.
`,
  };
}
