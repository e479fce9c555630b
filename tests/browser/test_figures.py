"""The figures on a static page, opened from a file with the network cut: what a reader sees and can do."""

import functools
import io

import figures
import pytest
from ipywidgets import jslink
from ipywidgets.embed import dependency_state
from opening import READY, data, open_figures, settle
from PIL import Image

KINDS = [figures.player, figures.schedule, figures.sampler]


def pixels(page, selector):
    return Image.open(io.BytesIO(page.locator(selector).first.screenshot())).convert("RGB")


def colours(image):
    return {colour for _, colour in image.getcolors(image.width * image.height)}


def inked(image):
    """The share of pixels that are not the background (the commonest colour)."""
    counts = [count for count, _ in image.getcolors(image.width * image.height)]
    return 1 - max(counts) / sum(counts)


def bright(image):
    """The share of pixels that are nearly white."""
    counts = image.getcolors(image.width * image.height)
    return sum(count for count, colour in counts if sum(colour) > 600) / (image.width * image.height)


# --- All figures ---


@pytest.mark.parametrize("make", KINDS)
def test_figure_appears_with_its_name_and_caption(page, write_page, make):
    open_figures(page, write_page, make(label="A <b>ring</b>", caption="Press <i>play</i>."))
    assert page.get_by_role("group", name="A <b>ring</b>").count() == 1
    assert page.locator("figcaption").text_content() == "Press <i>play</i>."
    assert page.locator(".figure-poster:visible").count() == 0
    assert inked(pixels(page, ".dpm-live canvas, .dpm-curve")) > 0.005
    assert page.evaluate("() => performance.getEntriesByName('figure-ready').length") == 1


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("switch", ["html theme", "JupyterLab", "system"])
def test_dark_theme_repaints(page, write_page, make, switch):
    open_figures(page, write_page, make())
    selector = ".dpm-live canvas" if make is not figures.schedule else ".dpm-curve"
    page.evaluate("() => { document.body.style.background = 'transparent'; }")
    light = pixels(page, selector)
    if switch == "html theme":
        page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    elif switch == "JupyterLab":
        page.evaluate("() => { document.body.dataset.jpThemeLight = 'false'; }")
    else:
        page.emulate_media(color_scheme="dark")
    page.evaluate("() => { document.documentElement.style.background = '#14181e'; }")
    settle(page)
    dark = pixels(page, selector)
    assert bright(light) > 0.3
    assert bright(dark) < 0.02, "white in dark mode"
    assert colours(dark) != colours(light)


@pytest.mark.parametrize("make", KINDS)
def test_the_page_theme_wins_over_the_system(page, write_page, make):
    page.emulate_media(color_scheme="dark")
    open_figures(page, write_page, make())
    assert data(page, "dark") == "true"
    page.evaluate("() => { document.documentElement.dataset.theme = 'light'; }")
    settle(page)
    assert data(page, "dark") == "false"
    page.evaluate("() => { delete document.documentElement.dataset.theme; document.body.style.background = '#fff'; }")
    settle(page)
    assert data(page, "dark") == "false", "a page that is white whatever the system says"
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    page.emulate_media(media="print")
    settle(page)
    assert data(page, "dark") == "false", "paper is light"


def test_player_fits_a_laptop_screen(page, write_page):
    open_figures(page, write_page, figures.player(caption="Press play. " * 8))
    assert page.locator(".dpm-figure").bounding_box()["height"] <= 740


@pytest.mark.parametrize("make", KINDS)
def test_without_javascript_there_is_a_poster(watch, write_page, make):
    watched = watch(java_script_enabled=False)
    watched.page.goto(write_page([make(label="A ring")], posters=True))
    poster = watched.page.get_by_role("img", name="A ring")
    assert poster.bounding_box()["width"] > 200
    assert inked(pixels(watched.page, ".figure-poster")) > 0.01
    watched.check()


def breakages():
    def no_script(record):
        record["state"]["_esm"] = "export default {"

    def failing_render(record):
        record["state"]["_esm"] = "export default { render() { throw new Error('broken'); } }"

    def bad_base64(record):
        record["buffers"][0]["data"] = "?" + record["buffers"][0]["data"]

    def cut_short(record):
        for buffer in record["buffers"]:
            buffer["data"] = buffer["data"][: len(buffer["data"]) // 8 * 4]

    def forgotten(record):
        record.clear()

    return [no_script, failing_render, bad_base64, cut_short, forgotten]


@functools.cache
def poster_of(make):
    return make().poster()


@pytest.mark.parametrize("breakage", breakages(), ids=lambda f: f.__name__)
@pytest.mark.parametrize("make", KINDS)
def test_a_broken_figure_shows_its_poster_and_the_others_go_on(watch, write_page, make, breakage):
    watched = watch()
    page = watched.page
    broken, sound = make(label="A broken ring"), figures.player(label="A sound ring")
    broken.poster, sound.poster = lambda: poster_of(make), lambda: poster_of(figures.player)
    state = dependency_state([broken, sound], drop_defaults=False)
    breakage(state[broken.model_id])
    page.goto(write_page([broken, sound], state=state, posters=True))
    page.wait_for_selector("[data-figure=failed]")
    page.wait_for_selector("[data-figure=ready]")
    assert page.get_by_role("img", name="A broken ring").bounding_box()["width"] > 200
    assert "could not start" in page.locator("[data-figure=failed] .figure-message").text_content()
    assert page.get_by_role("group", name="A sound ring").count() == 1
    assert any("figures:" in error for error in watched.errors)


def wrap_render(state, figure, body):
    record = state[figure.model_id]["state"]
    default = "export default live(render);"
    assert default in record["_esm"]
    body = body.replace("render(c)", "live(render).render(c)")
    record["_esm"] = record["_esm"].replace(default, f"export default {{ render(c) {{ {body} }} }};")


def test_in_a_notebook_a_figure_stands_for_its_poster_while_it_lives(page, write_page):
    """There the poster is an ordinary picture, and the figure's own script hides it: its own, and no other."""
    figure = figures.player(n=200)
    state = dependency_state([figure], drop_defaults=False)
    other = "document.body.prepend(Object.assign(document.createElement('div'), { className: 'dpm-poster' }));"
    wrap_render(state, figure, f"{other} window.leave = render(c);")
    open_figures(page, write_page, figure, state=state)
    hidden = "() => [...document.querySelectorAll('.dpm-poster')].map((poster) => poster.hidden)"
    assert page.evaluate(hidden) == [False, True]
    page.evaluate("leave()")
    assert page.evaluate(hidden) == [False, False]


def test_a_figure_may_be_built_before_it_stands_on_the_page(page, write_page):
    """So does JupyterLab."""
    figure = figures.player(n=200)
    state = dependency_state([figure], drop_defaults=False)
    late = """const el = document.createElement('div');
    setTimeout(() => c.el.append(el), 200);
    return render({ ...c, el });"""
    wrap_render(state, figure, late)
    page.emulate_media(color_scheme="dark")
    open_figures(page, write_page, figure, state=state)
    page.wait_for_selector(".dpm-live canvas")
    settle(page)
    image = pixels(page, ".dpm-live canvas")
    assert inked(image) > 0.005 and bright(image) < 0.02


def test_a_closed_figure_leaves_nothing_behind(page, write_page):
    figure = figures.player(n=100)
    state = dependency_state([figure], drop_defaults=False)
    wrap_render(state, figure, "window.model = c.model; window.close_ = render(c);")
    open_figures(page, write_page, figure, state=state)
    page.get_by_role("button", name="Play").click()
    page.evaluate("() => close_()")
    assert page.locator(".dpm-figure").count() == 0
    assert page.evaluate("() => [...model.listeners.values()].flat().length") == 0


def test_linked_figures_follow_each_other(page, write_page):
    one, two = figures.player(n=50), figures.player(n=50)
    link = jslink((one, "caption"), (two, "caption"))
    state = dependency_state([one, two, link], drop_defaults=False)
    for figure in (one, two):  # so that the test can reach their models
        wrap_render(state, figure, "(window.models ??= []).push(c.model); return render(c);")
    page.goto(write_page([one, two], state=state))
    page.wait_for_function(READY.format(2))
    for k in (0, 1):
        page.evaluate("(k) => models[k].set('caption', `from ${k}`)", k)
        assert page.locator("figcaption").all_text_contents() == [f"from {k}"] * 2


def test_a_removed_figure_stops(page, write_page):
    open_figures(page, write_page, figures.player(n=100))
    page.get_by_role("button", name="Play").click()
    page.evaluate("() => { window.figure = document.querySelector('.dpm-figure'); figure.remove(); }")
    settle(page)
    t = page.evaluate("() => figure.dataset.t")
    page.wait_for_timeout(400)
    assert page.evaluate("() => figure.dataset.t") == t


def test_play_waits_while_off_the_screen(page, write_page):
    open_figures(page, write_page, figures.player(n=100))
    page.evaluate("() => { document.body.style.paddingBottom = '3000px'; }")
    page.get_by_role("button", name="Play").click()
    page.evaluate("() => scrollTo(0, 2500)")
    page.wait_for_timeout(200)
    t = data(page, "t")
    page.wait_for_timeout(500)
    assert data(page, "t") == t
    page.evaluate("() => scrollTo(0, 0)")
    page.wait_for_function("(t) => document.querySelector('.dpm-figure').dataset.t !== t", arg=t)


# --- The player ---


def test_play_moves_time_and_pause_stops_it(page, write_page):
    open_figures(page, write_page, figures.player(n=200))
    before = pixels(page, ".dpm-live canvas")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => Number(document.querySelector('.dpm-figure').dataset.t) >= 8")
    page.get_by_role("button", name="Pause").click()
    settle(page)
    t = data(page, "t")
    assert page.get_by_role("slider", name="Time").input_value() == t
    assert page.get_by_role("slider", name="Time").get_attribute("aria-valuetext") == f"t = {t} of {figures.T}"
    assert pixels(page, ".dpm-live canvas").tobytes() != before.tobytes()
    page.wait_for_timeout(300)
    assert data(page, "t") == t


def test_play_by_keyboard_turns_round_at_the_end(page, write_page):
    open_figures(page, write_page, figures.player(n=100))
    page.get_by_role("slider", name="Time").press("End")
    page.get_by_label("Speed").select_option("2")
    page.get_by_role("button", name="Play").press("Enter")
    page.wait_for_function("(T) => Number(document.querySelector('.dpm-figure').dataset.t) < T - 3", arg=figures.T)
    assert page.locator(".dpm-row-model.dpm-active").count() == 1


def test_time_slider_stops_play(page, write_page):
    open_figures(page, write_page, figures.player(n=100))
    page.get_by_role("button", name="Play").click()
    page.get_by_role("slider", name="Time").press("Home")
    page.get_by_role("button", name="Play").wait_for()
    page.wait_for_timeout(200)
    assert data(page, "t") == "0"


def test_time_slider_by_keyboard_and_stills_by_mouse(page, write_page):
    open_figures(page, write_page, figures.player(n=200))
    slider = page.get_by_role("slider", name="Time")
    for key, t in [
        ("Home", "0"),
        ("ArrowRight", "1"),
        ("ArrowRight", "2"),
        ("End", str(figures.T)),
        ("ArrowLeft", str(figures.T - 1)),
    ]:
        slider.press(key)
        settle(page)
        assert data(page, "t") == t
    page.locator(".dpm-stills canvas").nth(2).click()
    settle(page)
    assert data(page, "t") == str(figures.T // 2)
    assert slider.input_value() == str(figures.T // 2)


def test_number_of_points_and_followed_points(page, write_page):
    open_figures(page, write_page, figures.player(n=1000))
    many = inked(pixels(page, ".dpm-live canvas"))
    page.get_by_role("slider", name="Points").press("Home")
    settle(page)
    few = pixels(page, ".dpm-live canvas")
    assert inked(few) < many / 3
    page.get_by_label("Follow 5 points").press("Space")
    settle(page)
    assert colours(pixels(page, ".dpm-live canvas")) - colours(few)


def test_a_frame_costs_under_ten_milliseconds_of_script(profile, write_page):
    page = profile().page
    page.add_init_script("""
      window.frames_ = [];
      const note = (list) => {
        for (const { duration } of list.getEntriesByName('figure-frame')) frames_.push(duration);
      };
      new PerformanceObserver(note).observe({ type: 'measure' });
    """)
    open_figures(page, write_page, figures.player(n=1000, T=40))
    page.evaluate("() => { frames_.length = 0; }")
    page.get_by_label("Follow 5 points").check()
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => frames_.length > 60")
    frames = sorted(page.evaluate("() => frames_"))
    print(f"\nframe: median {frames[len(frames) // 2]:.2f} ms, 95% {frames[int(0.95 * len(frames))]:.2f} ms")
    assert frames[len(frames) // 2] < 10
    assert frames[int(0.9 * len(frames))] < 10


def test_less_motion_means_whole_steps_and_no_start_by_itself(watch, write_page):
    watched = watch(reduced_motion="reduce")
    page = watched.page
    open_figures(page, write_page, figures.player(n=100, T=4))
    start = data(page, "t")
    page.wait_for_timeout(300)
    assert data(page, "t") == start
    inside = (3, 3, 160, 160)  # not the panel's rounded border, which is drawn by the browser
    still = pixels(page, ".dpm-live canvas").crop(inside).tobytes()
    page.get_by_label("Speed").select_option("0.25")
    page.get_by_role("button", name="Play").click()
    page.wait_for_timeout(500)  # a twentieth of a step: smooth motion would show
    assert pixels(page, ".dpm-live canvas").crop(inside).tobytes() == still
    watched.check()


# --- The schedule ---


def bound(page):
    settle(page)
    return float(data(page, "k"))


def test_dragging_a_handle_changes_the_bound(page, write_page):
    open_figures(page, write_page, figures.schedule())
    start, handle = bound(page), page.get_by_role("slider", name="beta 11", exact=True)
    before = handle.get_attribute("aria-valuetext")
    box = handle.locator(".dpm-grip").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 30, steps=3)
    page.mouse.up()
    assert bound(page) != start
    after = handle.locator(".dpm-grip").bounding_box()
    assert after["y"] + after["height"] / 2 == pytest.approx(y - 30, abs=2)
    assert handle.get_attribute("aria-valuetext") != before
    assert page.get_by_role("combobox", name="Schedule").input_value() == "your own"
    page.mouse.move(x, y + 60)
    assert handle.locator(".dpm-grip").bounding_box()["y"] == pytest.approx(after["y"], abs=0.1), "the drag is over"


def test_handles_by_keyboard(page, write_page):
    open_figures(page, write_page, figures.schedule())
    handle = page.get_by_role("slider", name="beta 11", exact=True)
    start = float(handle.get_attribute("aria-valuenow"))
    for key, change in [("ArrowUp", 0.05), ("PageDown", -0.45), ("PageUp", 0.05), ("ArrowDown", 0)]:
        handle.press(key)
        settle(page)
        assert float(handle.get_attribute("aria-valuenow")) == pytest.approx(start + change, abs=0.011)


def test_presets_and_forms_change_the_bound(page, write_page):
    open_figures(page, write_page, figures.schedule())
    first = bound(page)
    page.get_by_label("Covariance").select_option("constant")
    assert bound(page) < first, "a constant covariance cannot do better than the exact one"
    page.get_by_label("Covariance").select_option("full")
    page.get_by_role("combobox", name="Schedule").select_option("linear")
    assert bound(page) != first
    page.get_by_role("combobox", name="Schedule").select_option("log")
    assert bound(page) == first
    shown = page.locator(".dpm-results b").all_text_contents()
    numbers = [float(text.replace("−", "-")) for text in shown]
    assert numbers == pytest.approx([first, -0.9, -0.9 - first], abs=6e-4)


def test_bars_tell_their_numbers(page, write_page):
    open_figures(page, write_page, figures.schedule())
    bars = page.get_by_role("slider", name="KL of step")
    bars.press("ArrowRight")
    settle(page)
    bars.press("End")
    settle(page)
    assert f"Step {figures.T}: β = 0.90" in page.locator(".dpm-detail").text_content()
    box = bars.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 60)
    settle(page)
    assert "Step 2:" in page.locator(".dpm-detail").text_content()
    assert page.locator(".dpm-bar.dpm-chosen").count() == 1


# --- The sampler ---


def test_sampling_runs_from_noise_to_data(page, write_page):
    open_figures(page, write_page, figures.sampler())
    assert data(page, "t") == str(figures.T)
    page.get_by_role("button", name="Step").click()
    settle(page)
    assert data(page, "t") == str(figures.T - 1)
    page.get_by_label("Steps a second").select_option("60")
    page.get_by_role("button", name="Play").press("Enter")
    page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.t === '0'")
    assert page.get_by_role("button", name="Play").count() == 1, "it stops at the data"
    assert "ms a step" in page.locator(".dpm-detail").text_content()


def test_new_noise_is_new_and_the_same_seed_repeats(page, write_page):
    open_figures(page, write_page, figures.sampler())
    first = pixels(page, ".dpm-live canvas").tobytes()
    page.get_by_role("slider", name="Points").press("ArrowLeft")
    settle(page)
    assert pixels(page, ".dpm-live canvas").tobytes() != first
    page.get_by_role("slider", name="Points").press("ArrowRight")
    settle(page)
    assert pixels(page, ".dpm-live canvas").tobytes() == first
    page.get_by_role("button", name="New noise").click()
    page.get_by_role("button", name="Pause").click()
    settle(page)
    assert data(page, "seed") == "2"
    assert pixels(page, ".dpm-live canvas").tobytes() != first


def test_without_noise_the_steps_are_means(page, write_page):
    open_figures(page, write_page, figures.sampler())

    def sample():
        page.get_by_label("Steps a second").select_option("60")
        page.get_by_role("button", name="Play").click()
        page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.t === '0'")
        settle(page)
        return pixels(page, ".dpm-live canvas").tobytes()

    noisy = sample()
    page.get_by_label("Add noise at each step").uncheck()
    assert sample() != noisy


def test_sampling_two_thousand_points_takes_about_a_second(page, write_page):
    open_figures(page, write_page, figures.sampler(width=64, T=40))
    page.get_by_role("slider", name="Points").press("End")
    page.get_by_label("Steps a second").select_option("60")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.t === '0'")
    settle(page)
    words = page.locator(".dpm-detail").text_content()
    print("\n" + words)
    assert float(words.split(",")[-1].split("ms")[0]) < 80
