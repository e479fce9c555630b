"""Opening a generated page of figures, and asking a figure what it shows."""

READY = "() => document.querySelectorAll('[data-figure=ready]').length === {}"


def open_figures(page, write_page, *shown, **options):
    page.goto(write_page(list(shown), **options))
    page.wait_for_function(READY.format(len(shown)))
    settle(page)


def settle(page):
    """Waits for what has been asked to be computed, and then drawn."""
    page.wait_for_function("() => !document.querySelector('.dpm-figure[data-busy]')")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def data(page, name):
    return page.locator(".dpm-figure").first.get_attribute(f"data-{name}")
