// Times, durations and words for people.

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Formats a time in the zone of its offset, which is the tenant's: `27 Nov 10:30:05`. */
export function localTime(text: string): string {
  const found = /^(\d{4})-(\d\d)-(\d\d)T(\d\d:\d\d:\d\d)/.exec(text);
  if (!found) return text;
  const [, year, month, day, time] = found;
  const thisYear = String(new Date().getUTCFullYear()) === year;
  return `${Number(day)} ${MONTHS[Number(month) - 1]} ${thisYear ? "" : `${year} `}${time}`;
}

/** Formats a time in UTC, for the title of a local one. */
export function utcTime(text: string): string {
  const moment = new Date(text);
  return Number.isNaN(moment.getTime()) ? text : `${moment.toISOString().replace("T", " ").slice(0, 19)} UTC`;
}

export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function words(text: string): string {
  return text.replaceAll(/[_.]/g, " ").replaceAll(/\bpin\b/g, "PIN");
}

/** Formats a time since the start of a call. `digits` is the precision of the source. */
export function offset(milliseconds: number, digits = 3): string {
  const seconds = milliseconds / 1000;
  return `${seconds < 0 ? "−" : "+"}${Math.abs(seconds).toFixed(digits)} s`;
}
