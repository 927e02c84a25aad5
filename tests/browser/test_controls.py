"""Every control says the right thing to the server and shows what the server made of it."""

from __future__ import annotations

import json
import re

from safa_stream.scene import parse_prompts
from tests.browser.conftest import Desk
from tests.browser.rig import wait_for

RATE = 48_000


class TestBeginning:
    def test_the_session_has_the_pads_prompts(self, desk: Desk) -> None:
        assert desk.witness.layer()["prompts"] == "rain on a tent, distant thunder:0.4, wind in trees:0.2"
        assert desk.page.inner_text("#connection") == "Connected"
        assert desk.page.inner_text("#play") == "Pause"

    def test_the_address_keeps_no_secret(self, desk: Desk) -> None:
        assert desk.page.url == desk.watched.address

    def test_a_loop_of_what_was_not_heard_yet_is_refused_in_one_line(self, desk: Desk) -> None:
        desk.page.fill("#loop-seconds", "100")
        desk.press("#loop-seconds", "Enter")
        desk.watched.until("!document.getElementById('notice').hidden")
        assert "\n" not in desk.page.inner_text("#notice-text") != ""
        desk.page.click("#notice-close")
        assert desk.page.is_hidden("#notice")


class TestMixer:
    def test_gain(self, desk: Desk) -> None:
        desk.press(desk.fader("Gain, Layer 1"), "ArrowLeft", "ArrowLeft")
        desk.sent("mix", layer=0, gain=-1)
        desk.becomes(gain=-1.0)

    def test_the_lowest_gain_is_silence(self, desk: Desk) -> None:
        fader = desk.fader("Gain, Layer 1")
        desk.press(fader, "Home")
        desk.becomes(gain=-90.0)
        assert fader.get_attribute("aria-valuetext") == "off"
        desk.press(fader, "End")
        desk.becomes(gain=12.0)

    def test_pan_and_tone(self, desk: Desk) -> None:
        desk.press(desk.fader("Pan, Layer 1"), "End")
        desk.sent("mix", layer=0, pan=1)
        desk.strip(0).get_by_text("Tone and ducking").click()
        desk.press(desk.fader("Low, Layer 1"), "Home")
        desk.press(desk.fader("High, Layer 1"), "ArrowRight")
        desk.becomes(pan=1.0, low=-24.0, high=0.5)

    def test_mute_and_solo(self, desk: Desk) -> None:
        desk.strip(0).get_by_role("button", name="Mute layer 1").click()
        desk.sent("mix", layer=0, mute=True)
        desk.press(desk.strip(0).get_by_role("button", name="Solo layer 1"), "Space")
        desk.becomes(mute=True, solo=True)
        desk.strip(0).get_by_role("button", name="Mute layer 1").click()
        desk.becomes(mute=False)

    def test_master(self, desk: Desk) -> None:
        desk.press(desk.fader("Gain, Master"), "ArrowLeft")
        desk.sent("mix", layer=None, gain=-0.5)
        wait_for(lambda: desk.witness.state()["master"]["gain"] == -0.5)

    def test_what_another_client_does_is_shown(self, desk: Desk) -> None:
        desk.witness.ask("mix", layer=0, gain=-12, solo=False)
        wait_for(lambda: desk.fader("Gain, Layer 1").get_attribute("aria-valuetext") == "-12.0 dB")
        wait_for(
            lambda: desk.strip(0).get_by_role("button", name="Solo layer 1").get_attribute("aria-pressed") == "false"
        )

    def test_a_layer_is_added_ducked_chosen_and_removed(self, desk: Desk) -> None:
        desk.page.fill("#layer-text", "birds, a brook:0.3")
        desk.press("#layer-text", "Enter")
        desk.sent("layer.add", prompts=[{"text": "birds", "weight": 1}, {"text": "a brook", "weight": 0.3}])
        desk.strip(1).wait_for()
        assert desk.page.input_value("#layer-text") == ""
        desk.page.get_by_label("Ducked by, Layer 1").select_option("1")
        desk.press(desk.fader("Duck, Layer 1"), "ArrowRight")
        desk.becomes(duck_by=1, duck=0.5)
        desk.strip(1).get_by_role("button", name="Layer 2", exact=True).click()
        assert desk.texts() == ["birds", "a brook"]
        desk.strip(1).get_by_role("button", name="Remove Layer 2").click()
        desk.sent("layer.remove", layer=1)
        desk.strip(1).wait_for(state="detached")
        assert desk.texts() == ["rain on a tent", "distant thunder", "wind in trees"]


class TestPrompts:
    def test_a_text_is_written_over(self, desk: Desk) -> None:
        pad = desk.page.get_by_label("Prompt 3", exact=True)
        pad.fill("owls:0.5")
        pad.press("Enter")
        desk.becomes(prompts="rain on a tent, distant thunder:0.4, owls:0.5")
        assert desk.last("prompt")["layer"] == 0 and desk.last("prompt")["now"] is False

    def test_weights(self, desk: Desk) -> None:
        desk.press(desk.fader("Weight of owls"), "ArrowRight")
        desk.becomes(prompts="rain on a tent, distant thunder:0.4, owls:0.51")
        desk.press(desk.fader("Weight of distant thunder"), "Home")
        desk.becomes(prompts="rain on a tent, owls:0.51")
        assert desk.texts()[1] == "distant thunder", "a prompt without weight stays at hand"

    def test_morph_time_and_now(self, desk: Desk) -> None:
        desk.press(desk.fader("Morph time"), "Home", "ArrowRight")
        desk.press("#now", "Space")
        desk.page.fill("#pad-text", "a brook:0.2")
        desk.press("#pad-text", "Enter")
        told = [
            {"text": "rain on a tent", "weight": 1},
            {"text": "owls", "weight": 0.51},
            {"text": "a brook", "weight": 0.2},
        ]
        desk.sent("prompt", layer=0, prompts=told, morph=0.5, now=True)
        desk.press("#now", "Space")

    def test_changes_wait_for_a_bar(self, desk: Desk) -> None:
        wait_for(lambda: re.fullmatch(r"\d+\.[1-4] · 120 BPM", desk.page.inner_text('[data-figure="beat"] dd')))
        desk.page.select_option("#quantise", "4 bars")
        desk.press(desk.fader("Weight of owls"), "ArrowRight")
        desk.page.wait_for_timeout(1000)
        assert desk.weights()[desk.texts().index("owls")] == 0.52, "what waits stays as it was set"
        desk.becomes(prompts="rain on a tent, owls:0.52, a brook:0.2")
        assert desk.last("prompt")["quantise"] == "4 bars"
        desk.page.select_option("#quantise", "")
        desk.press(desk.fader("Weight of owls"), "ArrowLeft")
        desk.becomes(prompts="rain on a tent, owls:0.51, a brook:0.2")
        assert "quantise" not in desk.last("prompt")

    def test_removing_keeps_the_focus(self, desk: Desk) -> None:
        desk.press(desk.page.get_by_role("button", name="Remove a brook"), "Enter")
        desk.becomes(prompts="rain on a tent, owls:0.51")
        assert desk.page.evaluate("document.activeElement.value") == "owls"

    def test_what_another_client_asks_for_is_shown(self, desk: Desk) -> None:
        desk.page.wait_for_timeout(800)  # so long the page trusts what was set in it
        desk.witness.ask("prompt", prompts="surf, gulls:0.3", morph=0)
        wait_for(lambda: desk.texts() == ["surf", "gulls"])
        assert desk.weights() == [1, 0.3]

    def test_words_that_mean_nothing_are_named(self, desk: Desk) -> None:
        pad = desk.page.get_by_label("Prompt 2", exact=True)
        pad.fill("?quux")
        pad.press("Enter")
        wait_for(lambda: desk.page.inner_text("#prompts-hint") == "No sound is known for: ?quux.")


class TestSurface:
    def shares(self, desk: Desk) -> list[float]:
        weights = [prompt.weight for prompt in parse_prompts(desk.witness.layer()["prompts"])]
        return [weight / sum(weights) for weight in weights]

    def test_keys_go_to_a_prompt_and_between(self, desk: Desk) -> None:
        desk.witness.ask("prompt", prompts="surf, gulls", morph=0)
        wait_for(lambda: desk.texts() == ["surf", "gulls"])
        desk.press("#surface", "2")
        desk.becomes(prompts="gulls")
        desk.press("#surface", "0")
        wait_for(lambda: self.shares(desk) == [0.5, 0.5])
        desk.press("#surface", "ArrowLeft", "ArrowLeft")
        wait_for(lambda: len(self.shares(desk)) == 2 and self.shares(desk)[0] > 0.6)
        assert (desk.page.get_attribute("#surface", "aria-valuetext") or "").startswith("surf ")

    def test_the_point_is_dragged(self, desk: Desk) -> None:
        surface = desk.page.locator("#surface")
        surface.scroll_into_view_if_needed()
        box = surface.bounding_box()
        assert box is not None
        middle = box["y"] + 0.5 * box["height"]
        desk.page.mouse.move(box["x"] + 0.5 * box["width"], middle)
        desk.page.mouse.down()
        desk.page.mouse.move(box["x"] + 0.7 * box["width"], middle, steps=4)
        desk.page.mouse.up()
        # 0.16 from one point and 0.56 from the other: inverse squares.
        wanted = (1 / 0.56**2) / (1 / 0.56**2 + 1 / 0.16**2)
        wait_for(lambda: len(self.shares(desk)) == 2 and abs(self.shares(desk)[0] - wanted) < 0.02)


class TestTime:
    def test_pause_and_play(self, desk: Desk) -> None:
        desk.page.click("#play")
        wait_for(lambda: desk.witness.state()["playing"] is False)
        assert desk.page.inner_text("#play") == "Play"
        desk.page.click("#play")
        wait_for(lambda: desk.witness.state()["playing"] is True)
        wait_for(lambda: desk.page.inner_text("#play") == "Pause")

    def test_freeze(self, desk: Desk) -> None:
        desk.page.click("#freeze")
        wait_for(lambda: desk.witness.state()["frozen"] is True)
        wait_for(lambda: desk.page.inner_text("#prompts-layer") == "Layer 1, frozen: changes wait")
        assert desk.page.get_attribute("#freeze", "aria-pressed") == "true"
        desk.page.click("#freeze")
        wait_for(lambda: desk.page.get_attribute("#freeze", "aria-pressed") == "false")
        assert desk.witness.state()["frozen"] is False

    def test_rewind_goes_back_from_what_is_heard(self, desk: Desk) -> None:
        desk.page.select_option("#rewind-by", "5")
        before = desk.witness.state()["position"]
        desk.page.click("#rewind")
        wait_for(lambda: desk.page.evaluate("0") == 0 and any('"rewind"' in text for text in desk.watched.sent))
        # What is heard lags behind the server's clock by the buffers, never by more than they may hold.
        assert before - 4 * RATE <= desk.last("rewind")["to"] + 5 * RATE <= desk.witness.state()["position"]


class TestScenes:
    def test_saved_here_and_recalled(self, desk: Desk) -> None:
        before = desk.witness.layer()["prompts"]
        desk.page.fill("#scene-name", "Night on the moor")
        desk.press("#scene-name", "Enter")
        recall = desk.page.get_by_role("button", name="Recall Night on the moor")
        recall.wait_for()
        kept = json.loads(desk.page.evaluate("localStorage.getItem('safa.scenes')"))
        assert [scene["name"] for scene in kept] == ["Night on the moor"]
        desk.witness.ask("prompt", prompts="silence of snow", morph=0)
        recall.press("Enter")
        desk.becomes(prompts=before)
        assert desk.last("scene.recall") == {"scene": kept[0]["content"], "morph": 0.5}

    def test_deleted(self, desk: Desk) -> None:
        desk.page.get_by_role("button", name="Delete Night on the moor").click()
        assert desk.page.evaluate("localStorage.getItem('safa.scenes')") == "[]"
