"""A stand-in for the server and its page: sees what is asked, and says yes when told to."""

from pack.nodes.host import questions


class Page:
    """What is used of ComfyUI's PromptServer to ask a question."""

    client_id = "page"
    sockets = {"page": object()}

    def __init__(self):
        self.asked = []

    def send_sync(self, event, data, sid=None):
        assert (event, sid) == (questions.EVENT, "page")
        self.asked.append(data)

    def say_yes(self):
        return questions.QUESTIONS.answer(self.asked.pop()["id"])
