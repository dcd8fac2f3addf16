// The ladder as text and as a picture, for a ticket or a mail.

import type { TraceEntry } from "./api";
import { offset } from "./format";

export interface Lane {
  name: string;
  detail: string;
}

/** One row of the ladder: a message between two lanes, or a note beside one. */
export interface Row {
  entry: TraceEntry;
  from: number;
  to: number;
  label: string;
}

/** Returns the ladder as text, a line for each row. */
export function asText(title: string, lanes: Lane[], rows: Row[]): string {
  const names = lanes.map((lane) => lane.name);
  const width = Math.max(...names.map((name) => name.length));
  const heads = lanes.map((lane) => `${lane.name.padEnd(width)}  ${lane.detail}`.trimEnd());
  const lines = rows.map(({ entry, from, to, label }) => {
    const time = offset(entry.offset_ms).padStart(10);
    const place = from === to ? (names[from] ?? "").padEnd(2 * width + 4) : `${(names[from] ?? "").padEnd(width)} -> ${(names[to] ?? "").padEnd(width)}`;
    return `${time}  ${place}  ${label}${entry.retransmission ? " (retransmission)" : ""}`;
  });
  return [title, "", ...heads, "", ...lines, ""].join("\n");
}

const ROW = 30;
const TOP = 78;
const TIME = 90;
const LANE = 210;
const SCALE = 2;

/** Draws the ladder on white, and saves it as a PNG file. */
export async function savePng(name: string, title: string, lanes: Lane[], rows: Row[]): Promise<void> {
  const canvas = document.createElement("canvas");
  const [width, height] = [TIME + lanes.length * LANE, TOP + rows.length * ROW + 16];
  [canvas.width, canvas.height] = [width * SCALE, height * SCALE];
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.scale(SCALE, SCALE);
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, width, height);
  const x = (lane: number) => TIME + LANE / 2 + lane * LANE;
  const write = (text: string, at: number, y: number, color: string, font: string, align: CanvasTextAlign = "center") => {
    [pen.fillStyle, pen.font, pen.textAlign] = [color, font, align];
    pen.fillText(text, at, y, LANE - 10);
  };
  pen.fillStyle = "#5a6663";
  pen.font = "11px sans-serif";
  pen.fillText(title, 10, 16);
  lanes.forEach((lane, index) => {
    write(lane.name, x(index), 42, "#1a2321", "600 13px sans-serif");
    write(lane.detail, x(index), 58, "#5a6663", "11px sans-serif");
    line(pen, x(index), TOP - 10, x(index), height - 8, "#dfe3e2");
  });
  rows.forEach(({ entry, from, to, label }, index) => {
    const y = TOP + index * ROW + ROW / 2;
    const status = entry.status ?? 0;
    const color = status >= 300 ? "#a3252a" : status >= 200 ? "#0a7250" : "#5a6663";
    write(offset(entry.offset_ms), TIME - 8, y + 4, "#5a6663", "11px sans-serif", "right");
    write(label, (x(from) + x(to)) / 2, y, "#1a2321", "12px sans-serif");
    if (from !== to) arrow(pen, x(from), x(to), y + 6, color, Boolean(entry.retransmission));
  });
  const picture = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  if (picture) download(picture, name);
}

function line(pen: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number, color: string): void {
  pen.strokeStyle = color;
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

function arrow(pen: CanvasRenderingContext2D, from: number, to: number, y: number, color: string, isAgain: boolean): void {
  const back = from < to ? -8 : 8;
  pen.setLineDash(isAgain ? [4, 3] : []);
  line(pen, from, y, to + back / 2, y, color);
  pen.setLineDash([]);
  pen.fillStyle = color;
  pen.beginPath();
  pen.moveTo(to, y);
  pen.lineTo(to + back, y - 4);
  pen.lineTo(to + back, y + 4);
  pen.fill();
}

function download(file: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
