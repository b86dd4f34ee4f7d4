// Start; in a served page ask its server every two seconds for what is new.
"use strict";
moga.draw(JSON.parse(document.getElementById("data").textContent));
if (document.body.dataset.mode === "watch") {
  let tag = "";
  const ask = async () => {
    let told = " · live";
    try {
      const answer = await fetch("data.json", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
      if (answer.status === 200) {
        const fresh = await answer.json();
        if (tag !== "") moga.draw(fresh);
        tag = answer.headers.get("ETag") ?? "";
      } else if (answer.status !== 304) told = " · the server has trouble reading the run";
    } catch {
      told = " · the server has stopped; this is what it said last";
    }
    const live = document.getElementById("live");
    if (live && live.textContent !== told) live.textContent = told;
    setTimeout(ask, 2000);
  };
  ask();
}
