// The seam to ComfyUI's frontend: whatever the pack uses of it comes through here.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

export { app, api };

const UNREACHABLE = "ComfyUI cannot be reached.";

async function answered(request) {
  let response, found;
  try {
    response = await request;
    found = await response.json();
  } catch {
    throw new Error(UNREACHABLE);
  }
  if (!response.ok) throw new Error(found.error ?? `${response.status} ${response.statusText}`);
  return found;
}

// What a route of ours answers; an Error with its sentence where it refuses.
export const getJSON = (path, query = {}) =>
  answered(api.fetchApi(`${path}?${new URLSearchParams(query)}`));

export const postJSON = (path, body) =>
  answered(
    api.fetchApi(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    }),
  );

// The address of an image that a route of ours answers with.
export const imageURL = (path, query) => api.apiURL(`${path}?${new URLSearchParams(query)}`);

export function toast(severity, summary, detail, life = 8000) {
  app.extensionManager.toast.add({ severity, summary, detail, life });
}

// What the nodes of the open graph have shown under a key of ours, since the page was loaded.
export const shownBy = (key) => Object.values(app.nodeOutputs ?? {}).flatMap((output) => output?.[key] ?? []);
