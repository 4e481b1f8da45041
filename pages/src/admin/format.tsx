/** How the console writes names, numbers and times. */

import { href } from "./route.ts";

const NUMBER = new Intl.NumberFormat("en");
const SIGNED = new Intl.NumberFormat("en", { signDisplay: "exceptZero" });
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

export const number = (value: number): string => NUMBER.format(value);
/** With a minus that is as wide as the plus. */
export const signed = (value: number): string => SIGNED.format(value).replace("-", "−");
export const tokens = (value: number): string => `${number(value)} ${Math.abs(value) === 1 ? "token" : "tokens"}`;
export const hour = (time: string): string => HOUR.format(new Date(time));

/** A name within a text: whichever way it is written, it does not turn around what is next to it. */
export const isolated = (name: string): string => `\u2068${name}\u2069`;

/** A name as an element of its own, which has its own direction. */
export function Name({ name }: { name: string }) {
  return (
    <bdi class="username" dir="auto">
      {name}
    </bdi>
  );
}

export function UserLink({ name }: { name: string }) {
  return (
    <a href={href({ name: "user", username: name, part: "ledger" })}>
      <Name name={name} />
    </a>
  );
}

/** A moment where the viewer is, to the second or the day. */
export function Time({ time, day = false }: { time: string; day?: boolean }) {
  const date = new Date(time);
  return (
    <time dateTime={time} title={MOMENT.format(date)}>
      {(day ? DAY : MOMENT).format(date)}
    </time>
  );
}

/** Which zone the times of a view are in. */
export function zone(at = new Date()): string {
  const { timeZone } = new Intl.DateTimeFormat().resolvedOptions();
  const part = new Intl.DateTimeFormat("en", { timeZoneName: "longOffset" }).formatToParts(at).find(({ type }) => type === "timeZoneName");
  const offset = (part?.value ?? "").replace("GMT", "UTC");
  return offset && offset !== timeZone ? `${timeZone} (${offset})` : timeZone;
}

export function Zone() {
  return <p class="hint">Times are those of your time zone, {zone()}.</p>;
}
