/* Before a page is printed it takes its light colours, and opens what is folded in its text; then all is as it was.
   (Solutions are opened by the script that folds them.) */
(function () {
  "use strict";

  const root = document.documentElement;
  let opened = [];
  let theme;

  addEventListener("beforeprint", () => {
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    opened = [...document.querySelectorAll("details.sd-dropdown:not([open])")];
    for (const fold of opened) fold.open = true;
  });

  addEventListener("afterprint", () => {
    root.dataset.theme = theme;
    for (const fold of opened) fold.open = false;
  });
})();
