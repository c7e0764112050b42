// Fetches the page again when the run has new events; what is open or half typed stays as it is.
"use strict";

let shown = Number(document.body.dataset.seq);
let isBusy = false;

async function refresh() {
  if (isBusy || document.hidden || document.querySelector("main :focus")) return;
  isBusy = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const open = [...document.querySelectorAll("main details[open]")].map((d) => d.id);
    document.querySelector("main").replaceWith(page.querySelector("main"));
    document.querySelector("header").replaceWith(page.querySelector("header"));
    for (const id of open) if (id) document.getElementById(id)?.setAttribute("open", "");
    shown = Number(page.body.dataset.seq);
  } finally {
    isBusy = false;
  }
}

if (document.body.dataset.live === "yes") {
  const source = new EventSource("/news");
  source.onmessage = (event) => {
    if (Number(event.data) !== shown) refresh();
  };
  setInterval(() => { if (document.querySelector(".running")) refresh(); }, 5000);
}
