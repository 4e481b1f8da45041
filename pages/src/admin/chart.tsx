/** Bars, one for each hour, and the same as a table. */

import { axisEnd } from "./axis.ts";
import type { Counts, Figures } from "./calls.ts";
import { hour, number } from "./format.tsx";
import { METRICS, type Metric } from "./metrics.ts";
import { Records, type Column } from "./records.tsx";

type Hour = Figures["hours"][number];

/** The height of the chart, in its own units; a bar is as wide as one. */
const HEIGHT = 100;
/** What is between two bars, at each side. */
const GAP = 0.12;
/** How many hours from one word below the chart to the next. */
const STEP = 6;

function Bars({ hours, metric, end }: { hours: Hour[]; metric: Metric; end: number }) {
  return (
    // Stretched to the room there is; words would be stretched with it, so they are outside.
    <svg viewBox={`0 0 ${hours.length} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true" focusable="false">
      {[0, 0.5, 1].map((part) => (
        <line key={part} class="grid" x1="0" x2={hours.length} y1={HEIGHT * part} y2={HEIGHT * part} vector-effect="non-scaling-stroke" />
      ))}
      {hours.map((one, index) => {
        const height = (one[metric] / end) * HEIGHT;
        const isRunning = index === hours.length - 1;
        return (
          <g key={one.start}>
            <title>{`${hour(one.start)}: ${number(one[metric])}`}</title>
            {/* What the pointer finds even above a low bar. */}
            <rect class="column" x={index} y="0" width="1" height={HEIGHT} />
            <rect
              class={isRunning ? "bar running" : "bar"}
              x={index + GAP}
              y={HEIGHT - height}
              width={1 - 2 * GAP}
              height={height}
              vector-effect="non-scaling-stroke"
            />
          </g>
        );
      })}
    </svg>
  );
}

/** What the chart shows, in a sentence. */
function summary(hours: Hour[], metric: Metric): string {
  const most = hours.reduce((best, one) => (one[metric] > best[metric] ? one : best));
  const name = METRICS[metric];
  return most[metric] === 0
    ? `${name} per hour: none in all of these hours.`
    : `${name} per hour: the most were ${number(most[metric])}, in the hour from ${hour(most.start)}.`;
}

const COLUMNS: Column<Hour>[] = [
  { name: "Hour from", cell: (one) => <time dateTime={one.start}>{hour(one.start)}</time> },
  ...(Object.keys(METRICS) as (keyof Counts)[]).map((metric) => ({
    name: METRICS[metric],
    cell: (one: Hour) => number(one[metric]),
    numeric: true,
  })),
];

export function Chart({ hours, metric }: { hours: Hour[]; metric: Metric }) {
  const end = axisEnd(Math.max(...hours.map((one) => one[metric])));
  return (
    <figure class="chart">
      <figcaption>{summary(hours, metric)}</figcaption>
      <div class="plot" aria-hidden="true">
        <ul class="axis">
          {[end, end / 2, 0].map((value) => (
            <li key={value}>{number(value)}</li>
          ))}
        </ul>
        <Bars hours={hours} metric={metric} end={end} />
        <ul class="hours">
          {hours
            .filter((_, index) => index % STEP === 0)
            .map((one) => (
              <li key={one.start}>{hour(one.start)}</li>
            ))}
        </ul>
      </div>
      <p class="hint">The last hour is still running; figures may be some minutes late.</p>
      <details>
        <summary>The same as a table</summary>
        <div class="table" tabIndex={0} role="region" aria-label="Figures per hour, scrolls sideways">
          <Records caption="Figures per hour" columns={COLUMNS} rows={hours} id={(one) => one.start} />
        </div>
      </details>
    </figure>
  );
}
