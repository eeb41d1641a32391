// Before anything is drawn: light, dark, or as the system says.
"use strict";
{
  const chosen = localStorage.getItem("llmrouter.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
