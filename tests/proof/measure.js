// Writes down, once everything is loaded, where each paragraph begins and ends, and what was asked for on the way.
addEventListener("load", () => {
    const measured = (paragraph) => {
        const range = document.createRange();
        range.selectNodeContents(paragraph);
        const { left, right } = range.getBoundingClientRect();
        const lang = paragraph.closest("[lang]")?.lang ?? "";
        return { text: paragraph.textContent.trim(), left, right, lang, direction: getComputedStyle(paragraph).direction };
    };
    const { clientWidth, scrollWidth } = document.documentElement;
    const result = {
        paragraphs: [...document.querySelectorAll("p")].map(measured),
        width: clientWidth,
        overflow: scrollWidth - clientWidth,
        asked_for: performance.getEntriesByType("resource").map((entry) => entry.name),
    };
    const bytes = new TextEncoder().encode(JSON.stringify(result));
    document.documentElement.dataset.measured = btoa(String.fromCharCode(...bytes));
});
