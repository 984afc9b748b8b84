/** Puts the clock of a process wrong: `node --import shifted-clock.mjs`, by as many seconds as SHIFTED_BY says. */
const RightDate = Date;
const milliseconds = Number(process.env.SHIFTED_BY) * 1000;
globalThis.Date = class Date extends RightDate {
  constructor(...args) {
    if (args.length === 0) super(RightDate.now() + milliseconds);
    else super(...args);
  }
  static now() {
    return RightDate.now() + milliseconds;
  }
};
