// The page's own script: files go straight to this server's memory, and buttons inside HTML become events.
window.studio = {
  drop(element, taken) {
    const said = element.querySelector(".said");
    const send = async (files) => {
      element.classList.add("busy");
      said.textContent = "";
      const tokens = [];
      try {
        for (const file of files) {
          const place = new URL(`page/uploads?name=${encodeURIComponent(file.name)}`, document.baseURI);
          const answer = await fetch(place, {
            method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
          });
          const text = await answer.text();
          if (!answer.ok) throw new Error(`${file.name}: ${text}`);
          tokens.push(text);
        }
      } catch (error) {
        said.textContent = error instanceof TypeError ? "The server cannot be reached. Is it still running?" : error.message;
      }
      element.classList.remove("busy");
      if (tokens.length) taken(tokens);
    };
    element.addEventListener("change", (event) => {
      const files = [...event.target.files];
      event.target.value = "";  // the same file can be chosen again
      if (files.length) send(files);
    });
    for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
      element.addEventListener(name, (event) => {
        event.preventDefault();
        element.classList.toggle("over", over);
        if (name === "drop" && event.dataTransfer.files.length) {
          const files = [...event.dataTransfer.files];
          send(element.querySelector("input").multiple ? files : files.slice(0, 1));
        }
      });
    }
  },
  // Gradio's radio buttons have a name each, so the browser's own arrow keys do not move between them.
  arrows(event) {
    const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const group = event.target.type === "radio" && event.target.closest(".chips");
    if (!way || !group) return;
    event.preventDefault();
    const all = [...group.querySelectorAll("input[type=radio]")];
    const next = all[(all.indexOf(event.target) + way + all.length) % all.length];
    next.focus();
    next.click();
  },

  buttons(element, pressed) {
    element.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) pressed({ ...button.dataset });
    });
  },
};
document.addEventListener("keydown", window.studio.arrows);
