/** The figures of the last 24 hours. */

import { useState } from "preact/hooks";

import "./figures.css";
import { ApiError } from "../lib/api.ts";
import { Button, Notice, Problem } from "../lib/ui.tsx";
import { useAnswer } from "./answer.ts";
import { admin, type Figures } from "./calls.ts";
import { Chart } from "./chart.tsx";
import { Time, Zone, number } from "./format.tsx";
import { METRICS, type Metric } from "./metrics.ts";
import { say } from "./say.ts";

/** The totals; each is the choice of what the chart shows. */
function Tiles({ figures, metric, onChoose }: { figures: Figures; metric: Metric; onChoose: (metric: Metric) => void }) {
  return (
    <fieldset class="tiles">
      <legend>Totals. The chart shows the one that is chosen.</legend>
      {(Object.keys(METRICS) as Metric[]).map((one) => (
        <label key={one} class="tile">
          <input type="radio" name="metric" checked={one === metric} onChange={() => onChoose(one)} />
          <span class="tile-name">{METRICS[one]}</span>
          <span class="tile-number">{number(figures.totals[one])}</span>
        </label>
      ))}
    </fieldset>
  );
}

export function Today() {
  const { data: figures, error, busy, reload } = useAnswer("", admin.figures);
  const [metric, setMetric] = useState<Metric>("messages");
  const isMissing = error instanceof ApiError && error.code === "metrics_not_collected";
  return (
    <>
      <h1 tabIndex={-1}>Today</h1>
      {isMissing ? (
        <Notice>{say(error)} Users and the audit trail are above.</Notice>
      ) : (
        <Problem error={error} onRetry={reload} say={say} />
      )}
      {!figures && busy && <p class="waiting">Loading the figures …</p>}
      {figures && (
        <>
          <div class="view-head">
            <p>
              From <Time time={figures.from} /> to <Time time={figures.to} />.
            </p>
            <Button onClick={reload} busy={busy}>
              Refresh
            </Button>
          </div>
          <Tiles figures={figures} metric={metric} onChoose={setMetric} />
          <section aria-labelledby="per-hour">
            <h2 id="per-hour">{METRICS[metric]} per hour</h2>
            <Chart hours={figures.hours} metric={metric} />
          </section>
          <h2>Holds left open</h2>
          <p>
            {figures.holds_open === 0
              ? "None: what was held for a message was charged or given back when its request ended."
              : `${number(figures.holds_open)} ${figures.holds_open === 1 ? "request" : "requests"} ended without it. What they hold comes back by itself.`}
          </p>
          <Zone />
        </>
      )}
    </>
  );
}
