// Says why the page came back.
const said = {
  "?wrong": "That is not the token.",
  "?wait": "Too many wrong tokens. Wait a minute, then try again.",
}[location.search];
if (said) {
  document.getElementById("said").textContent = said;
  document.getElementById("token").setAttribute("aria-invalid", "true");
}
