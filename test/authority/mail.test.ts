/** Mails by SMTP, to a real server: what arrives, what is tried again, what is given up, and what the log says of it. */
import { EventEmitter, once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { SMTPServer, type SMTPServerAddress, type SMTPServerOptions } from "smtp-server";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { openCertificateAuthority, type ServerCredential } from "../../broker/authority/certificates.ts";
import { defaultMailLimits, openMail, writeToLog, type Mailer } from "../../broker/authority/mail.ts";
import { openMailQueue, type MailLimits } from "../../broker/authority/mail-queue.ts";
import { readMailAddress, readSmtpServer, type SmtpServer } from "../../broker/authority/mail-settings.ts";

const CODE = "7H3K9QW2XA";
const mail = { to: "ada@example.com", subject: "Your code", text: `The code is ${CODE}.\n` };
const from = readMailAddress("Postern <postern@example.org>");

interface Arrived {
  readonly sender: string | undefined;
  readonly recipients: readonly string[];
  readonly head: string;
  readonly text: string;
  readonly isEncrypted: boolean;
  readonly user: string | undefined;
}

let dir: string;
let tls: ServerCredential;
let ca: string;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "postern-mail-"));
  tls = await (await openCertificateAuthority(dir)).issueServer(["localhost"]);
  ca = readFileSync(join(dir, "ca.pem"), "utf8");
});
afterAll(() => rmSync(dir, { recursive: true }));

const opened: Array<() => unknown> = [];
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

/** A server on a free port, and what arrived at it. STARTTLS is offered where there is a key. */
async function openServer(options: SMTPServerOptions = {}) {
  const arrived: Arrived[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: options.key === undefined ? ["STARTTLS"] : [],
    logger: false,
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        const [head, ...rest] = Buffer.concat(chunks).toString("utf8").split("\r\n\r\n");
        const { mailFrom, rcptTo } = session.envelope;
        arrived.push({
          sender: mailFrom === false ? undefined : mailFrom.address,
          recipients: rcptTo.map(({ address }) => address),
          head: head!,
          text: rest.join("\r\n\r\n"),
          isEncrypted: session.secure,
          user: session.user,
        });
        done();
      });
    },
    ...options,
  });
  // a client that does not trust the certificate leaves in the middle of the handshake
  server.on("error", () => undefined);
  await once(server.listen(0, "127.0.0.1"), "listening");
  opened.push(() => new Promise<void>((resolve) => server.close(resolve)));
  const { port } = server.server.address() as AddressInfo;
  return { port, arrived };
}

/** A mailer with a log that is read line by line. Nothing is waited for longer than it takes. */
function openMailer(smtp: SmtpServer, limits: Partial<MailLimits> = {}) {
  const lines: Record<string, unknown>[] = [];
  const written = new EventEmitter();
  const log = pino(
    {
      level: "trace",
      base: null,
      timestamp: false,
    },
    {
      write(line: string) {
        lines.push(JSON.parse(line) as Record<string, unknown>);
        written.emit("line");
      },
    },
  );
  const mailer: Mailer = openMail({ smtp, from, log, limits: { pausesMilliseconds: [1, 1], ...limits } });
  opened.push(() => mailer.close());
  return {
    mailer,
    lines,
    /** The lines once the last one says this so many times. */
    until: async (msg: string, times = 1): Promise<Record<string, unknown>[]> => {
      while (lines.filter((line) => line["msg"] === msg).length < times) await once(written, "line");
      return lines;
    },
  };
}

const local = (port: number, more: Partial<SmtpServer> = {}): SmtpServer => ({
  ...readSmtpServer(`smtp://localhost:${port}`),
  ...more,
});
const messageId = expect.stringMatching(/^<[0-9a-f-]{36}@example\.org>$/);

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
    expect(JSON.stringify(lines)).not.toMatch(/ada|7H3K/);
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

describe("the queue", () => {
  /** A server that takes a recipient when it is told to. */
  async function openHolding() {
    const held: Array<() => void> = [];
    const came = new EventEmitter();
    const server = await openServer({
      onRcptTo(_address, _session, done) {
        held.push(() => done());
        came.emit("held");
      },
    });
    return {
      ...server,
      held,
      untilHeld: async (count: number): Promise<void> => {
        while (held.length < count) await once(came, "held");
      },
    };
  }

  it("holds so many, a few of them at the server, and says once that it drops the others", async () => {
    const { port, arrived, held, untilHeld } = await openHolding();
    const { mailer, until, lines } = openMailer(local(port), { waiting: 4, atOnce: 2 });
    for (let n = 0; n < 7; n++) mailer.send({ ...mail, to: `ada${n}@example.com` });
    await untilHeld(2);
    expect(lines).toEqual([{ level: 50, waiting: 4, msg: "mails are dropped" }]);
    for (let n = 0; n < 4; n++) {
      await untilHeld(1);
      held.shift()!();
    }
    await until("mail sent", 4);
    expect(new Set(arrived.map(({ recipients }) => recipients[0]))).toEqual(
      new Set([0, 1, 2, 3].map((n) => `ada${n}@example.com`)),
    );
    expect(lines.filter(({ msg }) => msg === "mails were dropped")).toEqual([
      { level: 50, dropped: 3, msg: "mails were dropped" },
    ]);
    mailer.send({ ...mail, to: "ada7@example.com" });
    await untilHeld(1);
    held.shift()!();
    await until("mail sent", 5);
  });

  it("is closed after what is under way, and gives the rest up", async () => {
    const { port, arrived, held, untilHeld } = await openHolding();
    const { mailer, lines } = openMailer(local(port), { atOnce: 1 });
    for (let n = 0; n < 3; n++) mailer.send(mail);
    await untilHeld(1);
    const closing = mailer.close();
    held.shift()!();
    await closing;
    expect(arrived).toHaveLength(1);
    expect(lines).toEqual([
      { level: 50, mails: 2, msg: "mails given up" },
      { level: 30, messageId, tries: 1, msg: "mail sent" },
    ]);
    mailer.send(mail);
    expect(lines.at(-1)).toEqual({ level: 50, messageId, msg: "mail given up" });
  });

  it("is closed in time when the server does not answer", async () => {
    const { port, arrived, held, untilHeld } = await openHolding();
    const { mailer, lines } = openMailer(local(port), { closeMilliseconds: 1 });
    mailer.send(mail);
    await untilHeld(1);
    await mailer.close();
    expect(lines).toMatchObject([{ tries: 1, code: "EABORT", msg: "mail given up" }]);
    expect(arrived).toEqual([]);
    held.shift()!();
  });

  it("is closed while a mail waits to be tried again, which it then is not", async () => {
    const { port } = await openServer({
      onRcptTo: (_a, _s, done) => done(Object.assign(new Error("later"), { responseCode: 450 })),
    });
    const { mailer, until, lines } = openMailer(local(port), { pausesMilliseconds: [3_600_000] });
    mailer.send(mail);
    await until("mail not sent");
    await mailer.close();
    expect(lines.slice(1)).toEqual([{ level: 50, mails: 1, msg: "mails given up" }]);
  });
});

describe("the queue by itself", () => {
  const limits: MailLimits = { ...defaultMailLimits, pausesMilliseconds: [3_600_000] };
  const silent = pino({ level: "silent" });

  it("ends a try that takes too long", async () => {
    const ended = new EventEmitter();
    const queue = openMailQueue(
      async (_mail, _id, signal) => {
        await once(signal, "abort");
        ended.emit("end", signal.reason);
        return { isSent: false, isFinal: true, facts: {} };
      },
      { ...limits, tryMilliseconds: 1 },
      silent,
    );
    queue.add(mail, "<1@example.org>");
    expect(await once(ended, "end")).toMatchObject([{ name: "TimeoutError" }]);
    await queue.close();
  });

  it("leaves no timer behind when it is closed", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const queue = openMailQueue(() => Promise.resolve({ isSent: false, isFinal: false, facts: {} }), limits, silent);
      queue.add(mail, "<1@example.org>");
      await vi.waitUntil(() => vi.getTimerCount() === 1);
      await queue.close();
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("without SMTP", () => {
  it("a mail is in the log, whole", () => {
    const lines: unknown[] = [];
    writeToLog(pino({ base: null, timestamp: false }, { write: (line) => lines.push(JSON.parse(line)) }))(mail);
    expect(lines).toEqual([{ level: 30, ...mail, msg: "mail" }]);
  });
});

describe("the address of a server", () => {
  it.each<[string, SmtpServer]>([
    ["smtp://mail.example", { host: "mail.example", port: 587, isSecure: false, isLocal: false }],
    ["smtp://MAIL.example:25/", { host: "mail.example", port: 25, isSecure: false, isLocal: false }],
    ["smtps://mail.example", { host: "mail.example", port: 465, isSecure: true, isLocal: false }],
    ["smtp://localhost:1025", { host: "localhost", port: 1025, isSecure: false, isLocal: true }],
    ["smtp://127.0.0.2", { host: "127.0.0.2", port: 587, isSecure: false, isLocal: true }],
    ["smtp://[::1]:25", { host: "::1", port: 25, isSecure: false, isLocal: true }],
    ["smtp://127.evil.example", { host: "127.evil.example", port: 587, isSecure: false, isLocal: false }],
    ["smtp://localhost.evil.example", { host: "localhost.evil.example", port: 587, isSecure: false, isLocal: false }],
    [
      "smtp://u:p%40:@[2001:db8::1]",
      { host: "2001:db8::1", port: 587, isSecure: false, isLocal: false, user: "u", password: "p@:" },
    ],
  ])("%s", (text, server) => {
    expect(readSmtpServer(text)).toEqual(server);
  });

  it.each([
    ["", "is no address like"],
    ["mail.example", "is no address like"],
    ["mail.example:587", "is no address like"],
    ["http://mail.example", "is no address like"],
    ["smtp://", "is no address like"],
    ["smtp://:secret@", "is no address like"],
    ["smtp://mail.example:99999", "is no address like"],
    ["smtp://mail.example?secure=false", "has something after"],
    ["smtp://mail.example/?tls.rejectUnauthorized=false", "has something after"],
    ["smtp://mail.example#x", "has something after"],
    ["smtp://mail.example/box", "has something after"],
    ["smtp://secret@mail.example", "has a user without a password"],
    ["smtp://:secret@mail.example", "has a user without a password"],
    ["smtp://u:secret%zz@mail.example", "has a user or a password with a %"],
  ])("is not %j, and what it says does not hold it", (text, why) => {
    let said = "";
    try {
      readSmtpServer(text);
    } catch (error) {
      said = (error as Error).message;
    }
    expect(said).toMatch(new RegExp(`^${why}`));
    expect(said).not.toContain("secret");
  });
});

describe("the sender", () => {
  it.each([
    ["postern@example.com", { name: "", address: "postern@example.com" }],
    [" Postern <postern@example.com> ", { name: "Postern", address: "postern@example.com" }],
    ['"Postern, at work" <postern@example.com>', { name: "Postern, at work", address: "postern@example.com" }],
    ["<postern@example.com>", { name: "", address: "postern@example.com" }],
  ])("%s", (text, address) => {
    expect(readMailAddress(text)).toEqual(address);
  });

  it.each([
    "",
    "Postern",
    "Postern <>",
    "a@b.example, c@d.example",
    "Postern <a@b.example> <c@d.example>",
    "a\r\nBcc: x <a@b.example>",
    "Postern <a@b.example\r\n>",
  ])("is not %j", (text) => {
    expect(() => readMailAddress(text)).toThrow("is no address like Postern <postern@example.com>");
  });
});
