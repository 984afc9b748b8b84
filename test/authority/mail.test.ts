/** Mails by SMTP, to a real server: what arrives, what is tried again, what is given up, and what the log says of it. */
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import type { SMTPServerAddress, SMTPServerOptions } from "smtp-server";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCertificateAuthority, type ServerCredential } from "../../broker/authority/certificates/certificates.ts";
import { writeToLog } from "../../broker/authority/accounts/mail.ts";
import { readSmtpServer, type SmtpServer } from "../../broker/authority/accounts/mail-settings.ts";
import { CODE, local, mail, messageId, opened, openMailer, openServer } from "./mail-fixture.ts";

let dir: string;
let tls: ServerCredential;
let ca: string;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "postern-mail-"));
  tls = await (await openCertificateAuthority(dir)).issueServer(["localhost"]);
  ca = readFileSync(join(dir, "ca.pem"), "utf8");
});
afterAll(() => rmSync(dir, { recursive: true }));

describe("a mail", () => {
  it("arrives as it was given, from the sender of the settings, and asks for no automatic answer", async () => {
    const { port, arrived } = await openServer();
    const { mailer, until } = openMailer(local(port));
    mailer.send(mail);
    const lines = await until("mail sent");
    expect(arrived).toEqual([
      {
        sender: "postern@example.org",
        recipients: ["ada@example.com"],
        head: expect.any(String),
        text: `The code is ${CODE}.\r\n`,
        isEncrypted: false,
        user: undefined,
      },
    ]);
    const head = arrived[0]!.head.split("\r\n");
    expect(head).toEqual(
      expect.arrayContaining([
        "From: Postern <postern@example.org>",
        "To: ada@example.com",
        "Subject: Your code",
        "Auto-Submitted: auto-generated",
      ]),
    );
    expect(lines).toEqual([{ level: 30, messageId, tries: 1, msg: "mail sent" }]);
    expect(head).toContain(`Message-ID: ${lines[0]!["messageId"] as string}`);
  });

  it("has a text of any kind of line", async () => {
    const { port, arrived } = await openServer();
    const { mailer, until } = openMailer(local(port));
    mailer.send({ ...mail, text: `.\n..\nRCPT TO:<eve@example.com>\n\n.\n${CODE}\n` });
    await until("mail sent");
    expect(arrived).toMatchObject([
      { recipients: ["ada@example.com"], text: `.\r\n..\r\nRCPT TO:<eve@example.com>\r\n\r\n.\r\n${CODE}\r\n` },
    ]);
  });

  it("has no further header, whatever its subject says", async () => {
    const { port, arrived } = await openServer();
    const { mailer, until } = openMailer(local(port));
    mailer.send({ ...mail, subject: "Hello\r\nBcc: eve@example.com\r\n\r\nanother text" });
    await until("mail sent");
    expect(arrived[0]!.recipients).toEqual(["ada@example.com"]);
    const names = arrived[0]!.head.split("\r\n").map((line) => line.split(":", 1)[0]!.toLowerCase());
    expect(names).not.toContain("bcc");
    expect(arrived[0]!.text).toBe(`The code is ${CODE}.\r\n`);
  });

  it("goes to one address and nothing else", async () => {
    const wrong = [
      "ada@example.com\r\nBcc: eve@example.com",
      "ada@example.com\nRCPT TO:<eve@example.com>",
      "ada@example.com, eve@example.com",
      "ada@example.com;eve@example.com",
      "Ada <ada@example.com>",
      "<ada@example.com>",
      "ada@example.com>\u0000",
      "ada@exa mple.com",
      "ada@a@example.com",
      "example.com",
      "",
      `${"a".repeat(65)}@example.com`,
      `ada@${"a".repeat(255)}`,
    ];
    const { port, arrived } = await openServer();
    const { mailer, until } = openMailer(local(port));
    for (const to of wrong) mailer.send({ ...mail, to });
    mailer.send(mail);
    expect(await until("mail sent")).toEqual([
      ...wrong.map(() => ({ level: 50, messageId, code: "EENVELOPE", msg: "mail given up" })),
      { level: 30, messageId, tries: 1, msg: "mail sent" },
    ]);
    expect(arrived.map(({ recipients }) => recipients)).toEqual([["ada@example.com"]]);
  });
});

describe("the connection", () => {
  it.each<[string, (port: number) => SmtpServer, boolean]>([
    ["on this machine takes TLS where it is offered, with any certificate", (port) => local(port), false],
    ["elsewhere takes TLS after STARTTLS", (port) => local(port, { isLocal: false, ca }), false],
    ["takes TLS from the first byte", (port) => local(port, { isSecure: true, ca }), true],
  ])("%s", async (_name, smtpOf, secure) => {
    const { port, arrived } = await openServer({ key: tls.key, cert: tls.cert, secure });
    const { mailer, until } = openMailer(smtpOf(port));
    mailer.send(mail);
    await until("mail sent");
    expect(arrived).toMatchObject([{ recipients: ["ada@example.com"], isEncrypted: true }]);
  });

  it.each<[string, Partial<SmtpServer>, SMTPServerOptions | undefined, object]>([
    // the server's no to STARTTLS is for good
    ["a server elsewhere that offers no TLS", { isLocal: false }, undefined, { tries: 1, code: "ETLS", status: 500 }],
    ["a certificate of nobody, after STARTTLS", { isLocal: false }, {}, { tries: 3, code: "ESOCKET" }],
    [
      "a certificate of nobody, from the first byte",
      { isSecure: true },
      { secure: true },
      { tries: 3, code: "ESOCKET" },
    ],
    ["a server without TLS, from the first byte", { isSecure: true }, undefined, { tries: 3, code: "ESOCKET" }],
  ])("gives nothing to %s", async (_name, more, server, facts) => {
    const { port, arrived } = await openServer(server && { key: tls.key, cert: tls.cert, ...server });
    const { mailer, until } = openMailer(local(port, more));
    mailer.send(mail);
    const lines = await until("mail given up");
    expect(lines.at(-1)).toMatchObject(facts);
    expect(arrived).toEqual([]);
    expect(JSON.stringify(lines)).not.toContain(CODE);
  });

  const onAuth: SMTPServerOptions["onAuth"] = ({ username, password }, _session, done) =>
    username === "postern" && password === "p@ss:word"
      ? done(null, { user: username })
      : done(new Error(`no ${password}`));

  it("is logged in with the user and the password of the settings", async () => {
    const { port, arrived } = await openServer({ key: tls.key, cert: tls.cert, authOptional: false, onAuth });
    const { mailer, until } = openMailer(readSmtpServer(`smtp://postern:p%40ss%3Aword@localhost:${port}`));
    mailer.send(mail);
    await until("mail sent");
    expect(arrived).toMatchObject([{ user: "postern", isEncrypted: true }]);
  });

  it("is not tried again with a password that is wrong, which no line holds", async () => {
    const { port, arrived } = await openServer({ key: tls.key, cert: tls.cert, authOptional: false, onAuth });
    const { mailer, until } = openMailer(readSmtpServer(`smtp://postern:hunter2@localhost:${port}`));
    mailer.send(mail);
    const lines = await until("mail given up");
    expect(lines).toEqual([{ level: 50, messageId, tries: 1, code: "EAUTH", status: 535, msg: "mail given up" }]);
    expect(arrived).toEqual([]);
  });
});

describe("a server that does not take a mail", () => {
  const refusing = (answers: readonly (number | undefined)[]): SMTPServerOptions => {
    const left = [...answers];
    return {
      onRcptTo({ address }: SMTPServerAddress, _session, done) {
        const responseCode = left.shift();
        if (responseCode === undefined) return done();
        return done(Object.assign(new Error(`<${address}> is not here, ${CODE}`), { responseCode }));
      },
    };
  };

  it("for now is asked again", async () => {
    const { port, arrived } = await openServer(refusing([450, 421]));
    const { mailer, until } = openMailer(local(port));
    mailer.send(mail);
    const lines = await until("mail sent");
    expect(lines).toEqual([
      { level: 40, messageId, tries: 1, code: "EENVELOPE", status: 450, pauseMilliseconds: 1, msg: "mail not sent" },
      { level: 40, messageId, tries: 2, code: "ECONNECTION", status: 421, pauseMilliseconds: 1, msg: "mail not sent" },
      { level: 30, messageId, tries: 3, msg: "mail sent" },
    ]);
    expect(new Set(lines.map((line) => line["messageId"])).size).toBe(1);
    expect(arrived).toHaveLength(1);
  });

  it("for good is not, and its words, which hold the address, are in no line", async () => {
    const { port } = await openServer(refusing([550]));
    const { mailer, until } = openMailer(local(port));
    mailer.send(mail);
    const lines = await until("mail given up");
    expect(lines).toEqual([{ level: 50, messageId, tries: 1, code: "EENVELOPE", status: 550, msg: "mail given up" }]);
    expect(JSON.stringify(lines)).not.toMatch(/ada@|7H3K/);
  });

  it("that is down is tried so many times, and nothing is thrown", async () => {
    const gone = createServer().listen(0, "127.0.0.1");
    await once(gone, "listening");
    const { port } = gone.address() as AddressInfo;
    await new Promise((resolve) => gone.close(resolve));
    const { mailer, until } = openMailer(local(port));
    mailer.send(mail);
    const lines = await until("mail given up");
    expect(lines).toMatchObject([
      { msg: "mail not sent", tries: 1, code: "ESOCKET", why: expect.stringContaining("ECONNREFUSED") },
      { msg: "mail not sent", tries: 2 },
      { msg: "mail given up", tries: 3 },
    ]);
  });

  it("that says nothing has so long, and no longer", async () => {
    const sockets: Socket[] = [];
    const silent = createServer((socket) => sockets.push(socket)).listen(0, "127.0.0.1");
    opened.push(() => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => silent.close(resolve));
    });
    await once(silent, "listening");
    const { mailer, until } = openMailer(local((silent.address() as AddressInfo).port), {
      tryMilliseconds: 20,
      pausesMilliseconds: [],
    });
    mailer.send(mail);
    expect(await until("mail given up")).toMatchObject([{ tries: 1, msg: "mail given up" }]);
  });
});

describe("without SMTP", () => {
  it("a mail is in the log, whole", () => {
    const lines: unknown[] = [];
    writeToLog(pino({ base: null, timestamp: false }, { write: (line) => lines.push(JSON.parse(line)) }))(mail);
    expect(lines).toEqual([{ level: 30, ...mail, msg: "mail" }]);
  });
});
