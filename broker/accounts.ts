/**
 * How the accounts of developers are kept, as an operator says it: who may register, and where mails go.
 */
import type { Logger } from "pino";
import type { AccountSettings, Registration } from "./authority/context.ts";
import { openMail } from "./authority/accounts/mail.ts";
import { readMailAddress, readSmtpServer } from "./authority/accounts/mail-settings.ts";
import type { Opened } from "./opened.ts";

export { readMailAddress, readSmtpServer } from "./authority/accounts/mail-settings.ts";

/** Who may register as a developer, and how codes reach them. */
export interface PosternAccounts {
  /** Default `invite`. */
  readonly registration?: Registration;
  /** Without it mails are lines of the log. */
  readonly mail?: {
    /** `smtp://user:password@host:587` or `smtps://…`. */
    readonly smtp: string;
    /** `Postern <postern@example.com>`. */
    readonly from: string;
  };
}

/** The settings as the authority takes them; what sends mails is closed with the rest. Throws TypeError. */
export function openAccounts(accounts: PosternAccounts, log: Logger, opened: Opened): Partial<AccountSettings> {
  const { registration, mail } = accounts;
  const settings = { ...(registration !== undefined && { registration }) };
  if (mail === undefined) return settings;
  const mailer = openMail({ smtp: readSmtpServer(mail.smtp), from: readMailAddress(mail.from), log });
  opened.push(() => mailer.close());
  return { ...settings, sendMail: (one) => mailer.send(one) };
}
