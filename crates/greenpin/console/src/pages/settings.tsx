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
};
const CHOICES: Record<string, string[]> = { caller_policy: ["any", "listed"], dial_strategy: ["sequential", "parallel"] };

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
                {Object.entries(settings)
                  .filter(([name]) => !OTHERS.includes(name))
                  .sort(([, one], [, other]) => rank(one) - rank(other))
                  .map(([name, value]) => (
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

/** Texts and numbers come first, then JSON, then switches. */
function rank(value: Value): number {
  if (typeof value === "boolean") return 2;
  return value !== null && typeof value === "object" ? 1 : 0;
}

function Setting({ name, value }: { name: string; value: Value }) {
  const label = words(name);
  if (typeof value === "boolean")
    return (
      <label className="check">
        <input type="checkbox" name={name} defaultChecked={value} /> {label}
      </label>
    );
  if (value !== null && typeof value === "object")
    return (
      <label className="field">
        <span>{label}</span>
        <textarea name={name} defaultValue={JSON.stringify(value, null, 1)} rows={4} spellCheck={false} />
        <small>JSON</small>
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
        <input name={name} defaultValue={value === null ? "" : String(value)} autoComplete="off" spellCheck={false} />
      )}
      {UNITS[name] && <small>{UNITS[name]}</small>}
    </label>
  );
}

/** Returns the fields that the form changes. */
function changed(current: Settings, form: FormData): Settings {
  const changes: Settings = {};
  for (const [name, old] of Object.entries(current)) {
    if (OTHERS.includes(name)) continue;
    const text = textOf(form, name);
    let value: Value = text === "" ? null : text;
    if (typeof old === "boolean") value = form.get(name) !== null;
    else if (old !== null && typeof old === "object") value = JSON.parse(text) as Value;
    else if (typeof old === "number" && text !== "" && Number.isFinite(Number(text))) value = Number(text);
    else if (old === null && text !== "" && Number.isFinite(Number(text))) value = Number(text);
    if (JSON.stringify(value) !== JSON.stringify(old)) changes[name] = value;
  }
  return changes;
}
