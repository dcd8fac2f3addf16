import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { get, send } from "../api";
import { words } from "../format";
import { Curl, Loaded, Page, Panel, RequestForm, textOf, useTenantPath } from "../ui";

type Value = string | number | boolean | null | Value[] | { [name: string]: Value };
type Settings = Record<string, Value>;

/** Settings with a page or a request of their own. */
const OTHERS = ["webhooks", "destinations"];

const UNITS: Record<string, string> = {
  min_duration: "seconds",
  max_duration: "seconds",
  pin_cooloff: "seconds",
  ring_timeout: "seconds for each number",
  max_call_duration: "seconds",
  warning_tone: "seconds before the end; 0 for none",
  timezone: "IANA name, such as Asia/Kolkata",
  country: "two letters, for numbers without country code",
  max_guess_odds: "0 to 1, for a year; empty for no limit",
  rate_limit: 'such as {"requests_per_second": 100, "burst": 200}; empty for the server\'s',
  call_limit: 'such as {"max_calls": 50, "calls_per_second": 5}; empty for the server\'s',
  "retention.calls": "days; empty for no deletion",
  "retention.recordings": "days; empty for no deletion",
  "retention.ended_allocations": "days; empty for no deletion",
  "retention.trace": "days; 0 for no traces",
};
const CHOICES: Record<string, string[]> = { caller_policy: ["any", "listed"], dial_strategy: ["sequential", "parallel"], accept_call: ["answer", "key"] };

export function Settings() {
  const path = `${useTenantPath()}/settings`;
  const client = useQueryClient();
  const settings = useQuery({ queryKey: ["settings"], queryFn: () => get<Settings>(path) });
  const [saved, setSaved] = useState(false);
  const save = (current: Settings) => async (form: FormData) => {
    setSaved(false);
    const changes = changed(current, form);
    if (Object.keys(changes).length > 0) await send("PUT", path, changes);
    setSaved(true);
    await client.invalidateQueries({ queryKey: ["settings"] });
  };
  return (
    <Page title="Settings">
      <Loaded query={settings}>
        {(settings) => (
          <Panel title="Calls and allocations">
            <RequestForm key={JSON.stringify(settings)} label="Save" onSubmit={save(settings)}>
              <div className="fields">
                {flat(settings).map(([name, value]) => (
                  <Setting key={name} name={name} value={value} />
                ))}
              </div>
              {saved && (
                <p className="result" role="status">
                  Saved. Every node applies the settings within a second.
                </p>
              )}
            </RequestForm>
            <Curl method="PUT" path={path} body={{ ring_timeout: 30 }} />
          </Panel>
        )}
      </Loaded>
    </Page>
  );
}

/** Returns the settings with the fields of groups by their paths, such as `retention.calls`. */
function flat(settings: Settings): [string, Value][] {
  const fields = Object.entries(settings).filter(([name]) => !OTHERS.includes(name));
  const all = fields.flatMap(([name, value]): [string, Value][] => (isGroup(value) ? Object.entries(value).map(([inner, value]) => [`${name}.${inner}`, value]) : [[name, value]]));
  // Switches come last.
  return all.sort(([, one], [, other]) => Number(typeof one === "boolean") - Number(typeof other === "boolean"));
}

function isGroup(value: Value): value is { [name: string]: Value } {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function Setting({ name, value }: { name: string; value: Value }) {
  const label = words(name);
  if (typeof value === "boolean")
    return (
      <label className="check">
        <input type="checkbox" name={name} defaultChecked={value} /> {label}
      </label>
    );
  const choices = CHOICES[name];
  return (
    <label className="field">
      <span>{label}</span>
      {choices ? (
        <select name={name} defaultValue={String(value)}>
          {choices.map((choice) => (
            <option key={choice}>{choice}</option>
          ))}
        </select>
      ) : (
        <input name={name} defaultValue={value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value)} autoComplete="off" spellCheck={false} />
      )}
      {UNITS[name] && <small>{UNITS[name]}</small>}
    </label>
  );
}

/** Returns the fields that the form changes. A group is sent as a whole. */
function changed(current: Settings, form: FormData): Settings {
  const changes: Settings = {};
  for (const [path, old] of flat(current)) {
    const value = read(form, path, old);
    if (JSON.stringify(value) === JSON.stringify(old)) continue;
    const [name = "", inner] = path.split(".");
    const group = changes[name] ?? current[name] ?? null;
    changes[name] = inner && isGroup(group) ? { ...group, [inner]: value } : value;
  }
  return changes;
}

function read(form: FormData, name: string, old: Value): Value {
  if (typeof old === "boolean") return form.get(name) !== null;
  const text = textOf(form, name);
  if (text === "") return null;
  if (/^[[{]/.test(text)) return JSON.parse(text) as Value;
  return typeof old !== "string" && Number.isFinite(Number(text)) ? Number(text) : text;
}
